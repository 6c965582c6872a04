"""The `tf.distribute` strategy that the config asks for, on the devices that this machine has."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING

from tfx_pipeline.errors import EnvironmentMismatch
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
            return _multi_worker()
        case _:
            return _mirrored(train)


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
    if train.batch_size % len(devices):
        raise EnvironmentMismatch(
            f"train.batch_size {train.batch_size} does not divide over {len(devices)} replicas",
            hint=f"Set train.batch_size to a multiple of {len(devices)}, "
            "or `train.strategy: default` to train on one device.",
        )
    log.info("MirroredStrategy over %s", ", ".join(devices))
    return tf.distribute.MirroredStrategy(devices)


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


def _multi_worker() -> tf.distribute.Strategy:
    import tensorflow as tf

    hint = (
        "Set TF_CONFIG in every worker before it starts, for instance "
        '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}; or set `train.strategy: mirrored`.'
    )
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        raise EnvironmentMismatch(
            "train.strategy is multi_worker, but TF_CONFIG is not set", where="TF_CONFIG", hint=hint
        )
    try:
        config = json.loads(text)
        workers = config["cluster"]["worker"]
        index = int(config["task"]["index"])
        kind = config["task"]["type"]
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentMismatch(
            f"TF_CONFIG is not what TensorFlow expects ({type(error).__name__}: {error})",
            where="TF_CONFIG",
            hint=hint,
        ) from error
    if kind not in ("chief", "worker") or (kind == "worker" and not 0 <= index < len(workers)):
        raise EnvironmentMismatch(
            f"TF_CONFIG names task {kind} {index}, which its cluster of {len(workers)} workers "
            "does not have",
            where="TF_CONFIG",
            hint=hint,
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        raise EnvironmentMismatch(
            f"this worker cannot join the cluster: {str(error).strip().splitlines()[0]}",
            where="TF_CONFIG",
            hint="Multi-worker training must be the first use of TensorFlow in the process, and "
            "every worker's host:port must be free and reachable.",
        ) from error
