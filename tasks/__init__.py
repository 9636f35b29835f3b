"""How things are done: one file per outside system. A task is one effect on one of them."""
