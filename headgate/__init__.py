"""What should happen: rules as plain functions of values. Nothing below this package touches the outside world."""
