//! The scheduler as its driver uses it, on a clock of the test's own.

mod bed;
mod fair;
mod gather;
mod held;
mod scale;
mod shares;
mod slow;
