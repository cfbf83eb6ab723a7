"""What is installed."""

from importlib.metadata import PackageNotFoundError, version


def installed_version(package: str) -> str | None:
    """The version of a package as pip knows it; None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
