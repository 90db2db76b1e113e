//! A bit reader over parameter sets (Exp-Golomb included).
