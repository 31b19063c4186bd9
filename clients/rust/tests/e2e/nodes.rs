//! Sessions that live on another node.
