"""Features to a trained, exported model, on tf_keras.

TF-MOT works on tf_keras only, so `tf.keras` must mean tf_keras wherever the trainer runs.
TensorFlow and Keras read these variables when they are first imported: this is the one place that
sets them.
"""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
# Keras writes its defaults into HOME when it is imported. Beside the packages they harm nobody; and
# where that cannot be written, Keras goes on without.
os.environ.setdefault("KERAS_HOME", os.path.join(sys.prefix, "var", "keras"))
# So does matplotlib, which TFX's libraries import.
os.environ.setdefault("MPLCONFIGDIR", os.path.join(sys.prefix, "var", "matplotlib"))
