"""What runs each kind of step: elements go in one by one, and on to the next steps."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from apache_beam import coders
from apache_beam.runners import common
from apache_beam.transforms import combiners, core, sideinputs, window

from tfx_pipeline.runners.beam.local.files import RecordFiles, read_chunks
from tfx_pipeline.runners.beam.local.graphs import Graph, share
from tfx_pipeline.runners.beam.local.plan import Step

# A batch ends at this many bytes of records, however few they are.
_BATCH_BYTES = 64 * 2**20
# What stands for a key, the key, and its accumulator.
Taken = tuple[Any, Any, Any]
# A window that is made anew for each value parses its timestamp each time.
_windowed = window.GlobalWindows.windowed_value(None).with_value


class Operator:
    """One step at work. `receivers`: where each output goes, by its tag."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        self.step = step
        self.receivers = receivers

    def start(self) -> None:
        """Before the first bundle."""

    def begin(self) -> None:
        """Before the first element of a bundle: a file's, or all there are."""

    def process(self, element: Any) -> None:
        """One element (a Beam `WindowedValue`); it is handed on as it is."""
        self.receivers[None].receive(element)

    def process_values(self, values: Sequence[Any]) -> None:
        """Several elements' values at once."""
        for value in values:
            self.process(_windowed(value))

    def end(self) -> None:
        """After the last element of a bundle."""

    def finish(self) -> None:
        """After the last bundle."""

    def abandon(self) -> None:
        """After an error anywhere."""

    def emit(self, value: Any) -> None:
        """Hands on a value."""
        self.receivers[None].receive(_windowed(value))


class Receivers(dict[Any, Any]):
    """Receivers by output tag; what nobody reads goes nowhere."""

    def __missing__(self, tag: Any) -> Fan:
        self[tag] = Fan([])
        return self[tag]


class Fan(common.Receiver):  # type: ignore[misc]
    """Hands an element to several operators."""

    def __init__(self, targets: Iterable[Operator]) -> None:
        self.targets = list(targets)

    def receive(self, element: Any) -> None:
        for target in self.targets:
            target.process(element)


class Single(common.Receiver):  # type: ignore[misc]
    """Hands an element to one operator."""

    def __init__(self, target: Operator) -> None:
        self.targets = [target]
        self._process = target.process

    def receive(self, element: Any) -> None:
        self._process(element)


class Keep(common.Receiver):  # type: ignore[misc]
    """Keeps the elements."""

    def __init__(self, kept: list[Any]) -> None:
        self.receive_into = kept.append

    def receive(self, element: Any) -> None:
        self.receive_into(element)


class Impulse(Operator):
    """One empty element."""

    def finish(self) -> None:
        self.emit(b"")


class Read(Operator):
    """Pushes what a source has through the steps that follow."""

    def run(self) -> None:
        """Reads it from its start to its end."""
        for chunk in read_chunks(self.step.transform.source):
            self.push(chunk)

    def push(self, chunk: list[Any]) -> None:
        """Hands on what was read."""
        for target in self.receivers[None].targets:
            target.process_values(chunk)


class Do(Operator):
    """A `ParDo`, by Beam's own runner of functions."""

    def __init__(
        self,
        step: Step,
        receivers: Receivers,
        sides: list[list[Any]],
        graphs: dict[Any, Graph],
    ) -> None:
        super().__init__(step, receivers)
        transform = step.transform
        function = copy.copy(transform.dofn)  # Another step, or the next pass, may have it too.
        share(function, step.sides, graphs)
        self._is_set_up = False
        self._runner = common.DoFnRunner(
            function,
            transform.args,
            transform.kwargs,
            [
                sideinputs.SideInputMap(type(side), side._view_options(), kept)
                for side, kept in zip(step.sides, sides, strict=True)
            ],
            step.inputs[0].windowing,
            tagged_receivers=receivers,
            step_name=step.label,
        )
        self.process = self._runner.process  # type: ignore[method-assign]

    def start(self) -> None:
        self._is_set_up = True
        self._runner.setup()

    def begin(self) -> None:
        self._runner.start()

    def end(self) -> None:
        self._runner.finish()

    def finish(self) -> None:
        self._is_set_up = False
        self._runner.teardown()

    def abandon(self) -> None:
        if self._is_set_up:
            with suppress(Exception):  # The first error is the one to be told.
                self._runner.teardown()


class Same(Operator):
    """Hands on what it gets: flattening, and what only counts."""

    def process_values(self, values: Sequence[Any]) -> None:
        receiver = self.receivers[None]
        if isinstance(receiver, Keep):
            super().process_values(values)
            return
        for target in receiver.targets:
            target.process_values(values)


class Batch(Operator):
    """Lists of as many elements as Beam's `BatchElements` may make: no clock decides."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        self._rows = step.transform._batch_size_estimator._max_batch_size
        self._batch: list[Any] = []
        self._bytes = 0

    def process(self, element: Any) -> None:
        self.process_values([element.value])

    def process_values(self, values: Sequence[Any]) -> None:
        for value in values:
            self._batch.append(value)
            if type(value) is bytes:
                self._bytes += len(value)
            if len(self._batch) >= self._rows or self._bytes >= _BATCH_BYTES:
                self._flush()

    def end(self) -> None:
        if self._batch:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch, self._bytes = self._batch, [], 0
        self.emit(batch)


class Write(Operator):
    """TFRecord files; their names are what it hands on."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        self._files = RecordFiles(step.transform._sink)

    def process(self, element: Any) -> None:
        self._files.write(element.value)

    def finish(self) -> None:
        for name in self._files.finish():
            self.emit(name)

    def abandon(self) -> None:
        self._files.abandon()


class _ByKey(Operator):
    """Finds the place of a key as Beam does: keys are one when their bytes are."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        coder = coders.registry.get_coder(step.inputs[0].element_type or Any)
        key_coder = coder.key_coder() if coder.is_kv_coder() else coders.FastPrimitivesCoder()
        self._encode = key_coder.as_deterministic_coder(step.label).get_impl().encode
        self._keys: dict[Any, Any] = {}

    def place(self, key: Any) -> Any:
        """Something hashable that stands for a key."""
        if type(key) is bytes or type(key) is str or key is None:
            place = (key,)
        else:
            place = self._encode(key)
        self._keys.setdefault(place, key)
        return place


class Group(_ByKey):
    """`GroupByKey`."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        self._groups: dict[Any, list[Any]] = {}

    def process(self, element: Any) -> None:
        key, value = element.value
        self._groups.setdefault(self.place(key), []).append(value)

    def finish(self) -> None:
        for place, values in self._groups.items():
            self.emit((self._keys[place], values))


class Combine(_ByKey):
    """`CombinePerKey`: an accumulator for each key takes each value in at once."""

    def __init__(self, step: Step, receivers: Receivers) -> None:
        super().__init__(step, receivers)
        transform = step.transform
        if isinstance(transform, core.CombinePerKey):
            fn = combiners.curry_combine_fn(transform.fn, transform.args, transform.kwargs)
        else:  # A fan-out over workers, of which there is one.
            fn = transform._combine_fn
        self._fn = copy.copy(fn)
        self._is_set_up = False
        self._found: dict[Any, Any] = {}
        self._merged: dict[Any, Any] = {}

    def start(self) -> None:
        self._is_set_up = True
        self._fn.setup()

    def process(self, element: Any) -> None:
        key, value = element.value
        place = self.place(key)
        found = self._found
        known = found[place] if place in found else self._fn.create_accumulator()
        found[place] = self._fn.add_input(known, value)

    def take(self) -> list[Taken]:
        """The places of a bundle's keys, the keys, and their accumulators, compact; they are no
        longer here."""
        found, self._found = self._found, {}
        return [
            (place, self._keys[place], self._fn.compact(value)) for place, value in found.items()
        ]

    def merge(self, found: list[Taken]) -> None:
        """Takes in what `take` gave, here or in another job of the same steps."""
        merged = self._merged
        for place, key, accumulator in found:
            if place in merged:
                accumulator = self._fn.merge_accumulators([merged[place], accumulator])
            merged[place] = accumulator
            self._keys.setdefault(place, key)

    def finish(self) -> None:
        for place, accumulator in (self._merged or self._found).items():
            done = self._fn.extract_output(self._fn.compact(accumulator))
            self.emit((self._keys[place], done))
        self._is_set_up = False
        self._fn.teardown()

    def abandon(self) -> None:
        if self._is_set_up:
            with suppress(Exception):
                self._fn.teardown()
