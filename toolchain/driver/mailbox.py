"""One thing on its way from one thread to another."""

import threading
from typing import Generic, Optional, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds one thing at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._content: Optional[T] = None
        self._is_closed = False

    @property
    def is_finished(self) -> bool:
        """Closed, and empty."""
        with self._changed:
            return self._is_closed and self._content is None

    def put(self, content: T) -> bool:
        """Wait until there is room or the box is closed; returns whether the content is in it."""
        with self._changed:
            self._changed.wait_for(lambda: self._content is None or self._is_closed)
            return self._place(content)

    def replace(self, content: T) -> Optional[T]:
        """Put the content in at once; returns what it takes the place of."""
        with self._changed:
            previous = self._content
            self._place(content)
            return previous

    def take(self, seconds: float) -> Optional[T]:
        """The content, waited for as long as this while the box is open."""
        with self._changed:
            self._changed.wait_for(lambda: self._content is not None or self._is_closed, seconds)
            content, self._content = self._content, None
            self._changed.notify_all()
            return content

    def close(self) -> None:
        """Nothing more comes; what is in the box may still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _place(self, content: T) -> bool:
        if self._is_closed:
            return False
        self._content = content
        self._changed.notify_all()
        return True
