"""A program small enough to test in a second."""


def greeting(name: str) -> str:
    """What to say to somebody."""
    return f"Hello, {name}!"
