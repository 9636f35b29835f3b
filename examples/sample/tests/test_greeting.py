import unittest

from sample import greeting


class Greeting(unittest.TestCase):
    def test_a_greeting_names_whom_it_greets(self) -> None:
        self.assertEqual(greeting("world"), "Hello, world!")
