/// What one access to a device can carry: 8, 16 or 32 bits.
pub trait Word: sealed::Sealed + Copy {
    /// What an absent device reads as.
    const ONES: Self;
    /// The low bits of a number.
    fn cut(value: u32) -> Self;
    /// As a number.
    fn widen(self) -> u32;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl sealed::Sealed for $word {}
        impl Word for $word {
            const ONES: Self = Self::MAX;

            fn cut(value: u32) -> Self {
                value as Self
            }

            fn widen(self) -> u32 {
                self.into()
            }
        }
    )*};
}
words!(u8, u16, u32);
