"""Errors of this package.

DataError (ValueError)      a data set or a row of it cannot be used; names file, line, field and mend
"""


class DataError(ValueError):
    """A data set cannot be used as it is."""
