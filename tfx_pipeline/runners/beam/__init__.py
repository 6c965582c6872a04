"""Beam jobs on Flink, Spark and Dataflow: options, job servers, and their jars."""
