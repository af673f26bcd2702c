"""Ships the example profiles of top-level `profiles/` in the wheel, as `lightmem_cli.example_profiles`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["lightmem_cli*"]), "lightmem_cli.example_profiles"],
    package_dir={"lightmem_cli": "lightmem_cli", "lightmem_cli.example_profiles": "profiles"},
    package_data={"lightmem_cli": ["prompts/*.md", "samples/*.jsonl"], "lightmem_cli.example_profiles": ["*.toml"]},
)
