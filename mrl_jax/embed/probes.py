"""Linear probes on frozen prefixes."""


class Probe:
  def logits(self, embeddings, dims):
    raise NotImplementedError


def fit(database, dims):
  raise NotImplementedError
