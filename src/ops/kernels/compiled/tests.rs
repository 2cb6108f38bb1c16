//! Compiled networks against the kernels of the same layers one by one.
