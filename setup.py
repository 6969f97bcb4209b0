"""What pyproject.toml cannot say: folders at the top of the checkout lie in the package once it is installed."""

from setuptools import find_namespace_packages, find_packages, setup

DATA = ("conf", "experiments")
CODE = find_packages(include=["analysis*"])

setup(
    packages=[
        *find_namespace_packages("src", exclude=["*__pycache__*"]),  # hydra_plugins has no __init__.py
        *(f"tightfit.{name}" for name in (*DATA, *CODE)),
    ],
    package_dir={"": "src", **{f"tightfit.{name}": name for name in (*DATA, "analysis")}},
    package_data={
        **{f"tightfit.{name}": ["**/*"] for name in DATA},
        "tightfit.analysis.report": ["*.css", "*.js"],
    },
)
