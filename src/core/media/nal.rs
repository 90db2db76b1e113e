//! NAL units: length prefixes of 1, 2 and 4 bytes, Annex B start codes, emulation prevention.
