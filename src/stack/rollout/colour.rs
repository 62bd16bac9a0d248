//! The two colours, and what there is of each.

use std::fmt;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// One of the two halves of a stack, of which one is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Colour {
    Blue,
    Green,
}

impl Colour {
    pub(crate) const BOTH: [Self; 2] = [Self::Blue, Self::Green];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// Returns how its parameters and outputs end: `ImageIdBlue`.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Blue => "Blue",
            Self::Green => "Green",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|colour| colour.name() == name)
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that each colour has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Both<T> {
    pub(crate) blue: T,
    pub(crate) green: T,
}

impl<T> Both<T> {
    /// Returns what `of` says of each.
    pub(crate) fn each(mut of: impl FnMut(Colour) -> T) -> Self {
        Self {
            blue: of(Colour::Blue),
            green: of(Colour::Green),
        }
    }
}

impl<T> Index<Colour> for Both<T> {
    type Output = T;

    fn index(&self, colour: Colour) -> &T {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }
}

impl<T> IndexMut<Colour> for Both<T> {
    fn index_mut(&mut self, colour: Colour) -> &mut T {
        match colour {
            Colour::Blue => &mut self.blue,
            Colour::Green => &mut self.green,
        }
    }
}

/// How traffic is shared: the weights of a rule.
pub(crate) type Weights = Both<u32>;

impl Weights {
    /// Returns the weights that give a colour so many percent, and the other the rest.
    pub(crate) fn giving(colour: Colour, percent: u32) -> Self {
        let percent = percent.min(100);
        Self::each(|one| match one == colour {
            true => percent,
            false => 100 - percent,
        })
    }

    /// Returns how many percent of the requests a colour has. Weights may have been set by hand.
    pub(crate) fn percent(self, colour: Colour) -> u32 {
        let (mine, others) = (self[colour], self[colour.other()]);
        match mine + others {
            0 => 0,
            // A little is not nothing, and nearly all is not all.
            _ if mine > 0 && others > 0 => (100 * mine / (mine + others)).clamp(1, 99),
            _ if mine > 0 => 100,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_told_in_percent_whoever_set_them() {
        let weights = |blue, green| Weights { blue, green };
        assert_eq!(weights(90, 10).percent(Colour::Green), 10);
        assert_eq!(weights(1, 1).percent(Colour::Blue), 50);
        assert_eq!(weights(999, 1).percent(Colour::Green), 1);
        assert_eq!(weights(999, 1).percent(Colour::Blue), 99);
        assert_eq!(weights(7, 0).percent(Colour::Blue), 100);
        assert_eq!(weights(0, 0).percent(Colour::Blue), 0);
        assert_eq!(Weights::giving(Colour::Green, 10), weights(90, 10));
    }
}
