"""Airflow: the DAG file of a compiled pipeline. Nothing here imports Airflow."""
