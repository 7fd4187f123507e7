"""Errors of this package.

DataError (ValueError)      a data set or a row of it cannot be used; the message names file, line, field and a fix
"""


class DataError(ValueError):
    """A data set cannot be used as it is; the message says where and why."""
