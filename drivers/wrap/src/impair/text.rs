//! An impairment as text.

use super::Impairment;
use std::time::Duration;

impl Impairment {
    /// Sets one value from text, as in `loss=1%`, `delay=50us`, `rate=3.7Mpps`.
    ///
    /// # Errors
    /// What would be right.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "loss" => self.loss = share(key, value)?,
            "duplicate" => self.duplicate = share(key, value)?,
            "reorder" => self.reorder = share(key, value)?,
            "corrupt" => self.corrupt = share(key, value)?,
            "delay" => self.delay = time(value)?,
            "rate" => self.rate = rate(value)?,
            "buffer" => {
                let frames = value.parse().ok().filter(|frames| (1..=65_536).contains(frames));
                self.buffer = frames.ok_or("write buffer=1 to buffer=65536, in frames")?;
            }
            "seed" => self.seed = value.parse().map_err(|_| "write seed=7")?,
            _ => {
                return Err(format!(
                    "there is no option {key:?}; there are {}",
                    Self::KEYS.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// What [`Impairment::set`] knows.
    pub const KEYS: &[&str] = &[
        "loss",
        "duplicate",
        "reorder",
        "corrupt",
        "delay",
        "rate",
        "buffer",
        "seed",
    ];
}

fn share(key: &str, text: &str) -> Result<u32, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    let share = number.filter(|share| (0.0..=100.0).contains(share));
    share
        .map(|share| (share * 1e4).round() as u32)
        .ok_or_else(|| format!("write {key}=0.5%, from 0 to 100"))
}

fn time(text: &str) -> Result<Duration, String> {
    let scales = [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let time = scales.iter().find_map(|(unit, scale)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * scale).ok()
    });
    time.filter(|time| *time <= Duration::from_secs(10))
        .ok_or_else(|| "write delay=50us, up to 10s".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let scales = [("Mpps", 1e6), ("kpps", 1e3), ("pps", 1.0)];
    let rate = scales.iter().find_map(|(unit, scale)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * scale)
    });
    rate.filter(|rate| (1.0..1e12).contains(rate))
        .ok_or_else(|| "write rate=3.7Mpps, from 1pps on".to_owned())
}
