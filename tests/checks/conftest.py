from tests.attacks.conftest import problem

__all__ = ["problem"]
