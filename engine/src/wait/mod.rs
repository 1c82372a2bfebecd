//! Waiting: what an idle core sleeps on.
