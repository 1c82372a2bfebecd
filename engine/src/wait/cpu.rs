//! Instructions that let a core rest for a moment. They touch no memory and no register that the compiler uses.

use std::fs;
use std::thread::yield_now;

/// How this machine's cores can rest without a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// Not at all: the kernel may run somebody else meanwhile, which helps where cores are shared.
    Plain,
    /// Intel's WAITPKG: UMONITOR, UMWAIT, TPAUSE (SDM volume 2; "waitpkg" among the kernel's flags).
    Waitpkg,
    /// AMD's MONITORX and MWAITX (APM volume 3; "mwaitx" among the kernel's flags).
    Mwaitx,
}

/// Longest rest in cycles of the time-stamp counter: one to four microseconds. A watched write ends it at once.
#[cfg(target_arch = "x86_64")]
const REST: u64 = 4096;
impl Cpu {
    /// Asks the kernel: it can have switched off what the processor has.
    pub fn detect() -> Self {
        Self::of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
    }

    fn of(cpuinfo: &str) -> Self {
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
        let has = |flag| flags.is_some_and(|flags| flags.split_ascii_whitespace().any(|word| word == flag));
        if cfg!(not(target_arch = "x86_64")) {
            Self::Plain
        } else if has("waitpkg") {
            Self::Waitpkg
        } else if has("mwaitx") {
            Self::Mwaitx
        } else {
            Self::Plain
        }
    }

    /// Rests for a few microseconds at most.
    pub fn pause(self) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Waitpkg => x86::tpause(REST),
            // MWAITX waits only after a MONITORX.
            _ => yield_now(),
        }
    }

    /// The same, until somebody writes to the cache line of `word`; `is_quiet` is asked once more when the line is
    /// being watched.
    pub fn watch<T>(self, word: &T, is_quiet: impl FnOnce() -> bool) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Waitpkg => {
                x86::umonitor(word);
                if is_quiet() {
                    x86::umwait(REST);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Mwaitx => {
                x86::monitorx(word);
                if is_quiet() {
                    x86::mwaitx(REST as u32);
                }
            }
            _ => {
                let _ = (word, is_quiet);
                self.pause();
            }
        }
    }
}

/// Ticks of the processor's time-stamp counter, where it has one that is cheap to read.
#[inline(always)]
pub(crate) fn ticks() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    return Some(x86::ticks());
    #[cfg(not(target_arch = "x86_64"))]
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::_rdtsc;

    /// Bit 0 of the control register: C0.1, which wakes faster than C0.2.
    const C0_1: u32 = 1;

    #[inline(always)]
    pub fn ticks() -> u64 {
        // SAFETY: every x86-64 processor has RDTSC; it reads a counter.
        unsafe { _rdtsc() }
    }

    fn deadline(cycles: u64) -> u64 {
        ticks().wrapping_add(cycles)
    }

    pub fn tpause(cycles: u64) {
        let end = deadline(cycles);
        // SAFETY: only called where the kernel reports WAITPKG; waits, changes flags, touches no memory.
        unsafe {
            asm!("tpause {control:e}", control = in(reg) C0_1, in("eax") end as u32, in("edx") (end >> 32) as u32,
                options(nomem, nostack));
        }
    }

    pub fn umonitor<T>(word: &T) {
        // SAFETY: as `tpause`; the address is that of a live reference, and is watched, not accessed. Not `nomem`:
        // the caller's look at the word stays behind it.
        unsafe {
            asm!("umonitor {at}", at = in(reg) std::ptr::from_ref(word), options(nostack, preserves_flags))
        };
    }

    pub fn umwait(cycles: u64) {
        let end = deadline(cycles);
        // SAFETY: as `tpause`.
        unsafe {
            asm!("umwait {control:e}", control = in(reg) C0_1, in("eax") end as u32, in("edx") (end >> 32) as u32,
                options(nostack));
        }
    }

    pub fn monitorx<T>(word: &T) {
        // SAFETY: only called where the kernel reports MWAITX; otherwise as `umonitor`.
        unsafe {
            asm!("monitorx", in("rax") std::ptr::from_ref(word), in("ecx") 0, in("edx") 0,
                options(nostack, preserves_flags));
        }
    }

    /// Hints: no C-state (what Linux's delay loop asks for too), ECX bit 1: the timer in EBX counts.
    pub fn mwaitx(cycles: u32) {
        const NO_CSTATE: u32 = 0xf0;
        const TIMER: u32 = 1 << 1;
        // SAFETY: as `monitorx`; RBX, which the compiler may use, is put back.
        unsafe {
            asm!("xchg {timer}, rbx", "mwaitx", "xchg {timer}, rbx", timer = inout(reg) u64::from(cycles) => _,
                in("eax") NO_CSTATE, in("ecx") TIMER, options(nostack, preserves_flags));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn the_kernel_s_flags_decide() {
        let of = |flags: &str| {
            Cpu::of(&format!(
                "vendor_id\t: x\nflags\t\t: fpu {flags} tsc\nflags\t\t: waitpkg\n"
            ))
        };
        if cfg!(target_arch = "x86_64") {
            assert_eq!(of("waitpkg"), Cpu::Waitpkg);
            assert_eq!(of("mwaitx"), Cpu::Mwaitx);
        }
        assert_eq!(of("waitpkgs monitor"), Cpu::Plain);
        assert_eq!(Cpu::of(""), Cpu::Plain);
    }

    /// The start of a function's machine code.
    #[cfg(target_arch = "x86_64")]
    fn code(function: *const ()) -> Vec<u8> {
        // SAFETY: text is readable, and this binary's goes on for more than this behind each of these functions: the
        // standard library and the tests' harness are linked behind the crate's own code.
        unsafe { std::slice::from_raw_parts(function.cast::<u8>(), 96) }.to_vec()
    }

    /// Whether `prefix`, perhaps a REX prefix, `opcode`, and a register operand with this extension in its ModRM byte
    /// (bits 7:6 are 3, bits 5:3 the extension) stand somewhere before the function's return.
    #[cfg(target_arch = "x86_64")]
    fn holds(code: &[u8], prefix: u8, opcode: [u8; 2], extension: u8) -> bool {
        let modrm = |byte: u8| byte >> 3 == 0b11_000 | extension;
        code.windows(4)
            .any(|w| w[0] == prefix && w[1..3] == opcode && modrm(w[3]))
            || code
                .windows(5)
                .any(|w| w[0] == prefix && w[1] >> 4 == 4 && w[2..4] == opcode && modrm(w[4]))
    }

    /// Few machines have them, so that what is encoded is compared with the manuals: SDM volume 2, TPAUSE 66 0F AE /6,
    /// UMONITOR F3 0F AE /6, UMWAIT F2 0F AE /6; APM volume 3, MONITORX 0F 01 FA, MWAITX 0F 01 FB.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn instructions_are_encoded_as_the_manuals_say() {
        const GROUP_15: [u8; 2] = [0x0f, 0xae];
        let tpause = code(x86::tpause as fn(u64) as *const ());
        let umonitor = code(x86::umonitor::<u64> as fn(&u64) as *const ());
        let umwait = code(x86::umwait as fn(u64) as *const ());
        assert!(holds(&tpause, 0x66, GROUP_15, 6), "{tpause:02x?}");
        assert!(holds(&umonitor, 0xf3, GROUP_15, 6), "{umonitor:02x?}");
        assert!(holds(&umwait, 0xf2, GROUP_15, 6), "{umwait:02x?}");
        let monitorx = code(x86::monitorx::<u64> as fn(&u64) as *const ());
        let mwaitx = code(x86::mwaitx as fn(u32) as *const ());
        assert!(
            monitorx.windows(3).any(|w| w == [0x0f, 0x01, 0xfa]),
            "{monitorx:02x?}"
        );
        assert!(
            mwaitx.windows(3).any(|w| w == [0x0f, 0x01, 0xfb]),
            "{mwaitx:02x?}"
        );
        // RBX holds the timer for that one instruction, and is put back: the same exchange before and after.
        let at = mwaitx.windows(3).position(|w| w == [0x0f, 0x01, 0xfb]).unwrap();
        assert_eq!(mwaitx[at - 3..at], mwaitx[at + 3..at + 6], "{mwaitx:02x?}");
        assert_eq!(mwaitx[at - 2], 0x87, "XCHG: {mwaitx:02x?}");
    }

    #[test]
    fn a_rest_on_this_machine_ends() {
        let word = AtomicU64::new(0);
        for cpu in [Cpu::Plain, Cpu::detect()] {
            cpu.pause();
            cpu.watch(&word, || word.load(Ordering::Acquire) == 0);
        }
    }
}
