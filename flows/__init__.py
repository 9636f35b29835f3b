"""When things are done: the Prefect flows, readable top to bottom."""
