//! Work that survives a power cut.
