"""Work that widgets start: one thread for each model, and the latest wish wins.

A widget's callback runs between cells, in the kernel's own thread. It only leaves word here, so
that the notebook stays free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from weakref import WeakKeyDictionary

from factviz.models.factmodel import FactModel

Work = Callable[[], None]


class Worker:
    """Does what owners ask for, one thing after the other, in a thread that ends when idle."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[object, Work] = {}
        self._running = False

    def ask(self, owner: object, work: Work) -> None:
        """Do this as soon as possible, in place of what the same owner asked for and still waits.

        ``work`` shows its own failures: nobody sees what it raises but the thread's traceback.
        """
        with self._lock:
            self._waiting.pop(owner, None)
            self._waiting[owner] = work
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="factviz worker", daemon=True).start()

    def asked_again(self, owner: object) -> bool:
        """Whether something newer waits: then what is being done is of no use any more."""
        with self._lock:
            return owner in self._waiting

    def _run(self) -> None:
        try:
            while (work := self._next()) is not None:
                work()
        except BaseException:
            with self._lock:
                self._running = False
            raise

    def _next(self) -> Work | None:
        with self._lock:
            if not self._waiting:
                self._running = False
                return None
            return self._waiting.pop(next(iter(self._waiting)))


_workers: WeakKeyDictionary[FactModel, Worker] = WeakKeyDictionary()
_making = threading.Lock()


def worker_of(model: FactModel) -> Worker:
    """The one worker of a model."""
    with _making:
        return _workers.setdefault(model, Worker())
