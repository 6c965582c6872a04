"""The `tf.distribute` strategy that the config asks for, on the devices that this machine has."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tfx_pipeline.errors import EnvironmentMismatch
from trainer.cluster import WorkerLost, join, read_cluster
from trainer.config import TrainConfig

if TYPE_CHECKING:
    import tensorflow as tf

log = logging.getLogger(__name__)


def configure_devices(train: TrainConfig) -> None:
    """Splits the CPU into `train.logical_cpus` logical devices; with 0 it does nothing.

    TensorFlow takes this only before any device is used, so a runner calls it first thing in the
    process. A second call with the same number is harmless.

    Raises:
        EnvironmentMismatch: TensorFlow has already set up its devices in another way.
    """
    if not train.logical_cpus:
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    wanted = [tf.config.LogicalDeviceConfiguration() for _ in range(train.logical_cpus)]
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError as error:
        have = len(tf.config.list_logical_devices("CPU"))
        if have == train.logical_cpus:
            return
        raise EnvironmentMismatch(
            f"train.logical_cpus asks for {train.logical_cpus} logical CPUs, but TensorFlow has "
            f"already set up {have} in this process",
            hint="Start a new process for this config (in a notebook: restart the kernel, and call "
            "trainer.strategy.configure_devices before anything else of TensorFlow).",
        ) from error


def make_strategy(train: TrainConfig) -> tf.distribute.Strategy:
    """Makes the strategy that training runs under.

    `mirrored` takes all GPUs when there are several, else the logical CPUs when the config splits
    the CPU. With one device of either kind there is nothing to mirror, and the default strategy
    does the same arithmetic with less overhead.

    Raises:
        EnvironmentMismatch: The hardware or the environment that `train.strategy` needs is absent.
    """
    import tensorflow as tf

    match train.strategy:
        case "default":
            return tf.distribute.get_strategy()
        case "tpu":
            return _tpu()
        case "multi_worker":
            return _multi_worker(train)
        case "horovod":
            raise _horovod()
        case _:
            return _mirrored(train)


def scaled(train: TrainConfig, replicas: int) -> TrainConfig:
    """The config that the replicas train by together: its batch is the global one.

    With `train.scale` the config speaks of one replica. The batch grows with their number k, so
    that each keeps its share; the learning rate grows by k (`linear`: Goyal et al. 2017,
    arXiv:1706.02677, section 2.1) or by its root (`sqrt`: Krizhevsky 2014, arXiv:1404.5997,
    section 5; which suits Adam and its kin: Malladi et al. 2022, arXiv:2205.10287).

    Args:
        train: The `train` section.
        replicas: `num_replicas_in_sync`.

    Returns:
        A config with `scale: none`, which trains the same on any number of replicas.
    """
    if train.scale == "none":
        return train
    factor = float(replicas) if train.scale == "linear" else math.sqrt(replicas)
    found = train.model_copy(
        update={
            "scale": "none",
            "batch_size": train.batch_size * replicas,
            "learning_rate": train.learning_rate * factor,
        }
    )
    log.info(
        "train.scale %s, %d replicas: global batch %d (%d each), learning rate %g (%g for one)",
        train.scale,
        replicas,
        found.batch_size,
        train.batch_size,
        found.learning_rate,
        train.learning_rate,
    )
    return found


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the model: always, but for the other workers of a cluster."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec() or resolver.task_type is None:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().as_dict()
    )


def least_to_keep() -> int:
    """Checkpoints that each worker has to keep, under the strategy of this scope.

    A kill between two workers' saves leaves one of them an epoch ahead: both have the one before.
    """
    return 2 if of_several_workers() else 1


def latest_common(epochs: Sequence[int], most: int) -> int:
    """The latest epoch that all workers of this scope's strategy have a checkpoint of; 0: none.

    A collective: every worker calls it.

    Args:
        epochs: Those that this worker has, at most
        most: so many, on any worker.
    """
    import tensorflow as tf

    if not of_several_workers():
        return max(epochs, default=0)
    own = tf.constant([*epochs, *[0] * (most - len(epochs))], tf.int64)[tf.newaxis]
    strategy = tf.distribute.get_strategy()

    def gather() -> tf.Tensor:
        return tf.distribute.get_replica_context().all_gather(own, axis=0)

    everyone = strategy.experimental_local_results(tf.function(lambda: strategy.run(gather))())[0]
    return int(max(set.intersection(*(set(row) for row in everyone.numpy().tolist())) | {0}))


@contextmanager
def watching_workers() -> Iterator[None]:
    """Raises `WorkerLost` for what TensorFlow raises where another worker is gone."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if not of_several_workers():
            raise
        raise WorkerLost(
            "another worker of the cluster is gone",
            where="Trainer",
            hint="Its own log says why. Start all workers again: training goes on from the last "
            "checkpoint.",
        ) from error


def of_several_workers() -> bool:
    """Whether the strategy of this scope is that of a cluster."""
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _mirrored(train: TrainConfig) -> tf.distribute.Strategy:
    import tensorflow as tf

    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(gpus) > 1:
        devices = gpus
    elif train.strategy == "mirrored" and train.logical_cpus > 1:
        devices = cpus[: train.logical_cpus]
    else:
        return tf.distribute.get_strategy()
    _check_divides(train, len(devices))
    log.info("MirroredStrategy over %s", ", ".join(devices))
    return tf.distribute.MirroredStrategy(devices)


def _check_divides(train: TrainConfig, replicas: int) -> None:
    if train.scale == "none" and train.batch_size % replicas:
        raise EnvironmentMismatch(
            f"train.batch_size {train.batch_size} does not divide over {replicas} replicas",
            hint=f"Set train.batch_size to a multiple of {replicas}, or say that it is one "
            "replica's by `train.scale`; or `train.strategy: default` to train on one device.",
        )


def _tpu() -> tf.distribute.Strategy:
    import tensorflow as tf

    hint = (
        "Run on a Cloud TPU VM (TPU_NAME=local) or set TPU_NAME to the TPU's name or grpc:// "
        "address, with a TensorFlow that has TPU support; or set `train.strategy: mirrored`."
    )
    name = os.environ.get("TPU_NAME")
    if not name:
        raise EnvironmentMismatch(
            "train.strategy is tpu, but the environment names no TPU", where="TPU_NAME", hint=hint
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:  # The resolver raises anything from ValueError to HTTP errors.
        reason = str(error).strip().splitlines()
        raise EnvironmentMismatch(
            f"TPU {name!r} cannot be used: {reason[0] if reason else type(error).__name__}",
            where="TPU_NAME",
            hint=hint,
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _multi_worker(train: TrainConfig) -> tf.distribute.Strategy:
    import tensorflow as tf

    cluster = read_cluster()
    join(cluster, train.join_timeout_seconds)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        raise EnvironmentMismatch(
            f"this worker cannot join the cluster: {str(error).strip().splitlines()[0]}",
            where="TF_CONFIG",
            hint="Multi-worker training must be the first use of TensorFlow in the process, and "
            "every worker's host:port must be free and reachable.",
        ) from error
    _check_divides(train, strategy.num_replicas_in_sync)
    return strategy


def _horovod() -> EnvironmentMismatch:
    """Why training does not run under Horovod."""
    try:
        import horovod.tensorflow  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:  # Its native part does not load, either.
        headline = f"train.strategy is horovod, and `import horovod.tensorflow` fails ({error})"
    else:
        headline = "train.strategy is horovod, which Assay does not drive"
    return EnvironmentMismatch(
        headline,
        where="train.strategy",
        hint="Horovod's last release, 0.28.1, does not build against TensorFlow 2.21. Set "
        "`train.strategy: multi_worker`: the same synchronous all-reduce between machines, from "
        "TF_CONFIG.",
    )
