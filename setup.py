"""What Assay needs, by what a machine does with it.

The ranges are the ones that upstream's own metadata allow, so that plain pip can resolve them where
wheels exist. `make` installs requirements/lock.txt instead: exact versions, run together, and the
only way on glibc before 2.38 (Debian 12, Ubuntu 22.04).
"""

from setuptools import find_packages, setup

TENSORFLOW = "tensorflow>=2.19,<2.22"
CLIENT = ["grpcio>=1.64,<2", "protobuf>=5.29,<7", "numpy>=1.26,<3"]
SERVING = [
    *CLIENT,
    TENSORFLOW,
    "tensorflow-serving-api>=2.19.1,<2.22",
    "ai-edge-litert>=2",
    "grpcio-reflection>=1.64,<2",
    "hpack>=4",
    "httptools>=0.6",
    "uvicorn>=0.30",
    "uvloop>=0.19",
]
PIPELINE = [
    *SERVING,
    "tf_keras>=2.19,<2.22",
    "tfx>=1.21,<1.22",
    "tensorflow-transform>=1.21,<1.22",
    "tensorflow-model-analysis>=0.52,<0.53",
    "tensorflow-model-optimization>=0.8.1,<0.9",
    "keras-tuner>=1.4.8,<2",
    "apache-beam>=2.60,<3",
    "tensorboard>=2.19,<2.22",
    "jinja2>=3.1,<4",
    "filelock>=3.12",
    "flatbuffers>=24",
    "google-crc32c>=1.5",
    "matplotlib>=3.8,<4",
    "scikit-learn>=1.5,<2",  # data sets of the templates
    "setuptools<81",  # tensorflow-hub, which TFX needs, imports pkg_resources.
]
NOTEBOOKS = [*PIPELINE, "ipykernel>=6", "nbclient>=0.10", "nbformat>=5"]

setup(
    name="tfx-assay",
    version="0.1.0",
    description="From raw data to a measured, gated model in TensorFlow Serving",
    python_requires=">=3.11",
    packages=find_packages(
        include=[
            f"{name}{end}"
            for name in ("transform", "trainer", "serving", "tfx_pipeline")
            for end in ("", ".*")
        ]
    ),
    package_data={
        "": ["*.j2", "*.binpb"],
        "serving": ["deploy/**"],
        "tfx_pipeline": ["templates/**", "runners/beam/*.json"],
    },
    install_requires=[
        "pydantic>=2.7,<3",
        "typer>=0.12",
        "rich>=13",
        "pyyaml>=6",
        "psutil>=5.9",
    ],
    extras_require={
        # A machine that sends requests; no TensorFlow.
        "client": CLIENT,
        # A machine that answers them; no TFX.
        "serving": SERVING,
        # A machine that runs pipelines on its own or as a worker.
        "pipeline": PIPELINE,
        # Airflow's tasks call `assay run-node`, so Airflow and the pipeline may share a machine
        # without sharing an environment. Airflow 3 must have its own; 2.11 fits in either.
        "airflow": ["apache-airflow>=2.11,<4"],
        # A machine that submits to Vertex. Kubeflow's `kfp` slows every import of TFX down, so it
        # belongs in an environment of its own (requirements/kfp.txt, for tests).
        "vertex": [*PIPELINE, "google-cloud-aiplatform>=1.64,<2", "google-cloud-storage>=2.14,<4"],
        "notebooks": NOTEBOOKS,
        "dev": [
            *NOTEBOOKS,
            "hypothesis>=6",
            "httpx>=0.27",
            "import-linter>=2",
            "kubernetes-validate>=1.30",
            "openapi-spec-validator>=0.7",
            "prometheus-client>=0.20",
            "mypy>=1.10",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.5",
            "ruff>=0.5",
            "types-protobuf",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "assay = tfx_pipeline.cli.main:main",
            "assay-model-server = serving.server.main:main",
        ]
    },
)
