"""The example in the package's docstring is the contract that everyone else was written against."""

import textwrap

import headgate.configuration


def test_the_docstring_s_example_works() -> None:
    documentation = headgate.configuration.__doc__ or ""
    example = documentation.split("graphs::\n")[1].split("`config_paths(")[0]
    exec(textwrap.dedent(example), {})
