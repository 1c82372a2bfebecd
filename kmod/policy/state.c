// SPDX-License-Identifier: GPL-2.0-only
#include "state.h"

/*
 * Stops the device: nobody reaches it, then it reaches nobody. Interrupts come next, or are kept.
 */
#define STOP (BLP_DO_MASTER_OFF | BLP_DO_DRAIN)
#define QUIET (BLP_DO_ZAP | STOP)
/* And leaves it as it was found. */
#define CLEAN (QUIET | BLP_DO_IRQS_OFF | BLP_DO_RESET)
#define AGAIN (QUIET | BLP_DO_IRQS_MASK | BLP_DO_RESET | BLP_DO_IRQS_REARM)
#define ASLEEP (QUIET | BLP_DO_IRQS_MASK)
#define AWAKE (BLP_DO_RESET | BLP_DO_IRQS_REARM)

bool blp_state_attached(u32 state)
{
	switch (state) {
	case BLP_ATTACHED:
	case BLP_MASTER:
	case BLP_SUSPENDED_ATTACHED:
	case BLP_WOKEN_ATTACHED:
		return true;
	default:
		return false;
	}
}

bool blp_state_can_read_config(u32 state)
{
	switch (state) {
	case BLP_OPEN:
	case BLP_ATTACHED:
	case BLP_MASTER:
	case BLP_WOKEN_OPEN:
	case BLP_WOKEN_ATTACHED:
		return true;
	default:
		return false;
	}
}

static int go(struct blp_step *out, u32 state, u32 todo)
{
	out->state = state;
	out->todo = todo;
	return 0;
}

/* Events that the kernel brings: they cannot be refused. */
static int kernel_event(u32 state, u32 event, struct blp_step *out)
{
	const u32 detach = blp_state_attached(state) ? BLP_DO_DETACH : 0;
	const bool wants = blp_state_attached(state);

	switch (event) {
	case BLP_EV_CLOSE:
		return state == BLP_BOUND ? -EBUSY : go(out, BLP_BOUND, CLEAN | detach);
	case BLP_EV_REVOKE:
		return go(out, BLP_REVOKED, state == BLP_BOUND ? 0 : CLEAN | detach);
	case BLP_EV_SUSPEND:
		if (state == BLP_BOUND)
			return go(out, BLP_BOUND, 0);
		return go(out, wants ? BLP_SUSPENDED_ATTACHED : BLP_SUSPENDED_OPEN, ASLEEP);
	default:
		if (state == BLP_SUSPENDED_OPEN || state == BLP_SUSPENDED_ATTACHED)
			return go(out, wants ? BLP_WOKEN_ATTACHED : BLP_WOKEN_OPEN, AWAKE);
		/* A closed function was reset at close and is reset again; others did not sleep. */
		return go(out, state, state == BLP_BOUND ? BLP_DO_RESET : 0);
	}
}

static int open_event(u32 event, struct blp_step *out)
{
	switch (event) {
	case BLP_EV_ATTACH:
		return go(out, BLP_ATTACHED, BLP_DO_ATTACH);
	case BLP_EV_RESET:
		return go(out, BLP_OPEN, AGAIN);
	case BLP_EV_PM_ACK:
		return go(out, BLP_OPEN, 0);
	case BLP_EV_OPEN:
		return -EBUSY;
	default:
		return -EPERM;
	}
}

static int attached_event(u32 state, u32 event, struct blp_step *out)
{
	switch (event) {
	case BLP_EV_DETACH:
		return go(out, BLP_OPEN, CLEAN | BLP_DO_DETACH);
	case BLP_EV_MASTER_ON:
		return go(out, BLP_MASTER, state == BLP_MASTER ? 0 : BLP_DO_MASTER_ON);
	case BLP_EV_MASTER_OFF:
		return go(out, BLP_ATTACHED, state == BLP_MASTER ? STOP : 0);
	case BLP_EV_RESET:
		return go(out, BLP_ATTACHED, AGAIN);
	case BLP_EV_ACCESS:
	case BLP_EV_PM_ACK:
		return go(out, state, 0);
	default:
		return -EBUSY;
	}
}

static int woken_event(u32 state, u32 event, struct blp_step *out)
{
	switch (event) {
	case BLP_EV_PM_ACK:
		return go(out, state == BLP_WOKEN_ATTACHED ? BLP_ATTACHED : BLP_OPEN, 0);
	case BLP_EV_DETACH:
		if (state == BLP_WOKEN_ATTACHED)
			return go(out, BLP_WOKEN_OPEN, CLEAN | BLP_DO_DETACH);
		return -EPERM;
	default:
		return -EBUSY;
	}
}

int blp_state_next(u32 state, u32 event, struct blp_step *out)
{
	if (state >= BLP_STATES || event >= BLP_EVENTS)
		return -EINVAL;
	if (state == BLP_REVOKED)
		return -ENODEV;
	switch (event) {
	case BLP_EV_CLOSE:
	case BLP_EV_SUSPEND:
	case BLP_EV_RESUME:
	case BLP_EV_REVOKE:
		return kernel_event(state, event, out);
	}
	switch (state) {
	case BLP_BOUND:
		/* Nobody has an fd, so no other event comes. */
		return event == BLP_EV_OPEN ? go(out, BLP_OPEN, BLP_DO_VERIFY) : -EBUSY;
	case BLP_OPEN:
		return open_event(event, out);
	case BLP_ATTACHED:
	case BLP_MASTER:
		return attached_event(state, event, out);
	case BLP_WOKEN_OPEN:
	case BLP_WOKEN_ATTACHED:
		return woken_event(state, event, out);
	default:
		return -EBUSY;
	}
}
