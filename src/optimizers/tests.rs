//! What must hold for every optimizer.

use super::*;
