//! Stories about Parlor, told from outside. They are all in `tests/`.
