"""Features to a trained, exported model, on tf_keras.

TF-MOT works on tf_keras only, so `tf.keras` must mean tf_keras wherever the trainer runs.
TensorFlow reads the variable when it is first imported: this is the one place that sets it.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
