"""The one kind of error that is a person's to mend."""


class UsageError(ValueError):
  """Something given that cannot be used: one clear line, exit code 2."""
