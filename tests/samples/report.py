"""Rows and details of an evaluation, made up, and a page of them."""

import base64
import io
import json
import math

from mrl_jax.report import page, results

DIMS = (8, 12, 16, 32, 64)
TRAINED = (8, 16, 32, 64)
PRECISIONS = {'float32': 32, 'float16': 16, 'float8': 8, 'int8': 8, 'binary': 1}


def row(evaluator, metric, dim, value, half=0.01, **extra):
  return {
    'evaluator': evaluator,
    'metric': metric,
    'dim': dim,
    'value': value,
    'ci_low': max(value - half, -1),
    'ci_high': min(value + half, 1),
    'n': 10_000,
    'step': 1500,
    'trained': dim in TRAINED,
    **extra,
  }


def grown(dim, top, lost):
  """A curve that rises with the dimension."""
  return top - lost * math.exp(-dim / 12)


def few_rows():
  return [
    row(name, metric, dim, grown(dim, top, 0.2), **extra)
    for name, metric, top, extra in (
      ('linear', 'top1', 0.912, {}),
      ('knn', 'top1', 0.884, {}),
      ('knn', 'weighted', 0.899, {'k': 20}),
    )
    for dim in DIMS
  ]


def all_rows():
  rows = few_rows()
  for name, metric, top, extra in (
    ('linear', 'top5', 0.99, {}),
    ('probe', 'top1', 0.91, {}),
    ('retrieval', 'top1', 0.884, {}),
    *(
      ('retrieval', metric, top - k / 2000, {'k': k})
      for k in (10, 25, 50, 100)
      for metric, top in (
        ('p', 0.86),
        ('r', 0.1),
        ('map', 0.84),
        ('map_min', 0.85),
        ('ndcg', 0.87),
        ('mrr', 0.92),
      )
    ),
    ('classes', 'superclass', 0.97, {}),
    ('classes', 'head', 0.92, {}),
    ('classes', 'tail', 0.8, {}),
    ('classes', 'per_class', 0.905, {}),
    *(('few_shot', 'top1', 0.5 + k / 30, {'k': k}) for k in (1, 3, 5, 7, 9)),
    ('robustness', 'top1', 0.912, {'variant': 'clean'}),
    *(
      ('robustness', 'top1', 0.9 - s / 12, {'variant': f'severity{s}'})
      for s in range(1, 6)
    ),
    ('robustness', 'top1', 0.7, {'variant': 'gaussian_noise'}),
    ('robustness', 'top1', 0.66, {'variant': 'defocus_blur'}),
    ('robustness', 'top1', 0.65, {'variant': 'mean'}),
    *(
      ('baselines', metric, top - i / 40, {'variant': variant})
      for metric, top in (('knn_top1', 0.88), ('probe_top1', 0.91))
      for i, variant in enumerate(
        (*'prefix pca svd random_subset random_projection'.split(), 'ff')
      )
    ),
  ):
    rows += [row(name, metric, d, grown(d, top, 0.2), **extra) for d in DIMS]
  for i, dim in enumerate(DIMS):
    rows += [
      row('calibration', 'ece', dim, 0.02 + 0.01 * i),
      row('calibration', 'ece_adaptive', dim, 0.021 + 0.01 * i),
      row('cosine', 'positive', dim, 0.9 - 0.05 * i),
      row('cosine', 'negative', dim, -0.05 + 0.02 * i),
      row('cosine', 'separation', dim, 0.9 + 0.01 * i),
      row('agreement', 'first_right', dim, (0.8, 0.06, 0.04, 0.02, 0.01)[i]),
    ]
  rows += cascade_rows() + search_rows() + stores_rows() + pairs_rows()
  return rows


def pairs_rows():
  """What scored pairs tell: few dims are below 0, the last two are level."""
  values = (-0.05, 0.4, 0.7, 0.798, 0.8)
  rows = []
  for metric, less in (('spearman', 0), ('pearson', 0.02)):
    for dim, value in zip(DIMS, values):
      apart = value - values[-1]
      more = {
        'difference': apart,
        'difference_low': apart - 0.005,
        'difference_high': apart + 0.005,
      }
      more = more if dim < DIMS[-1] else {}
      rows.append(row('pairs', metric, dim, value - less, 0.02, n=1500) | more)
      for i, variant in enumerate('pca random_rotation random_subset'.split()):
        of = value - less - 0.01 * i
        rows.append(
          row('pairs', metric, dim, of, 0.02, n=1500, variant=variant)
        )
  return rows


def cascade_rows():
  rows = [
    row(
      'cascade',
      'top1',
      64,
      0.905 + 0.001 * i,
      variant=variant,
      expected_dim=11.5 + 4 * i,
      cumulative=14.5 + 6 * i,
      deviation=0.002,
      expected_dim_deviation=0.4,
    )
    for i, variant in enumerate(
      'paper conditional joint16 joint32 risk0.005 risk0.01 risk0.02'.split()
    )
  ]
  return [
    *rows,
    row('agreement', 'oracle', 64, 0.95, expected_dim=10.2),
    row('agreement', 'vote', 64, 0.91),
  ]


def search_rows():
  rows = []
  for i, variant in enumerate('prefix ar funnel funnel_auto device'.split()):
    for dim in DIMS:
      work = dim
      rows += [
        row(
          'search',
          metric,
          dim,
          grown(dim, 1 - i / 50, lost),
          variant=variant,
          mflops=0.06 * work + 0.0128 * (variant == 'ar'),
          mflops_shortlist=0.06 * work,
          bytes=240_000 * dim,
          **extra,
        )
        for metric, lost, extra in (
          ('recall', 0.8, {'k': 10}),
          ('top1', 0.2, {}),
        )
      ]
  return rows


def stores_rows():
  rows = []
  for dim in DIMS:
    for name, bits in PRECISIONS.items():
      lost = {8: 0.004, 1: 0.15}.get(bits, 0)
      for metric, top, extra in (('top1', 0.88, {}), ('recall', 1, {'k': 10})):
        value = grown(dim, top, 0.2) - lost
        rows.append(
          row(
            'stores',
            metric,
            dim,
            value,
            variant=f'prefix.{name}',
            held=math.ceil(dim * bits / 8),
            stored=math.ceil(dim * bits / 8),
            kept=value / top,
            kept_low=value / top - 0.01,
            kept_high=value / top + 0.01,
            **extra,
          )
        )
  return rows


DECISION = 'Keep 32 leading dims, int8: 32 bytes a row in memory'


def point(dim, kind, value, reduction='prefix', shortlist=0, index='', **more):
  """A store as the details of `stores` describe it."""
  held = dim * PRECISIONS[kind] / 8 + 40 * bool(index)
  measured = {
    name: {
      'value': of,
      'ci_low': of - 0.01,
      'ci_high': of + 0.01,
      'kept': of,
      'kept_low': of - 0.01,
      'kept_high': of + 0.01,
    }
    for name, of in (('top1', value - 0.1), ('recall@10', value))
  }
  return {
    'label': f'{dim} {reduction} {kind} {index}',
    'reduction': reduction,
    'dim': dim,
    'format': kind,
    'shortlist': shortlist,
    'rescore': 'full' if shortlist else '',
    'index': index,
    'held': held,
    'stored': held + 128 * bool(shortlist),
    'milliseconds': 0.01 * held,
    'measures': measured,
    **more,
  }


def stores_details():
  front = [
    point(dim, kind, grown(dim, 0.95, 0.3) + more, reduction, shortlist, index)
    for dim in DIMS
    for kind, more, reduction, shortlist, index in (
      ('float32', 0.0, 'prefix', 0, ''),
      ('int8', -0.01, 'pca', 0, ''),
      ('binary', 0.02, 'prefix', 50, ''),
      ('int8', -0.02, 'prefix', 0, 'HNSW 16, search 64'),
    )
  ]
  return {
    'measures': ['top1', 'recall@10'],
    'keep': 0.95,
    'width': 64,
    'database_rows': 50_000,
    'database_rows_of': 60_000,
    'queries': 2_000,
    'queries_of': 10_000,
    'decision': {'text': DECISION, 'why': ['Chosen on 500 queries.']},
    'table': [
      point(32, 'int8', 0.97, chosen=True),
      point(16, 'binary', 0.96, shortlist=50),
      point(64, 'float32', 1.0),
    ],
    'front': front,
  }


def nested_details(rotation=0.02, pca=-0.01):
  """The prefix's lead over its rivals, alike at every dim."""
  leads = {'random_subset': 0.2, 'random_rotation': rotation, 'pca': pca}
  return {
    'metric': 'knn_top1',
    'k': 10,
    'width': 64,
    'by': {
      rival: [
        {'dim': m, 'value': it, 'low': it - 0.005, 'high': it + 0.005}
        for m in DIMS[:-1]
      ]
      for rival, it in leads.items()
    },
  }


def png(size=24, shade=120):
  from PIL import Image

  out = io.BytesIO()
  Image.new('L', (size, size), shade).save(out, 'PNG')
  return base64.b64encode(out.getvalue()).decode()


def all_details():
  nearest = [
    {'row': i, 'label': i % 2, 'name': 'Bag', 'right': i != 1, 'image': png()}
    for i in range(5)
  ]
  return {
    'cascade': {
      'texts': ['Risk-controlled: with 12.0 of 64 dimensions it is right'],
      'fixed': [
        {
          'dim': d,
          'accuracy': grown(d, 0.91, 0.2),
          'low': grown(d, 0.90, 0.2),
          'high': grown(d, 0.92, 0.2),
        }
        for d in TRAINED
      ],
      'frontier': [{'policy': 'paper', 'expected_dim': 11.5, 'accuracy': 0.9}],
    },
    'agreement': {'text': 'Some prefix is right on 95.0% of the queries.'},
    'classes': {
      'dims': list(DIMS),
      'text': 'From 8 to 64 dimensions, of 10 classes: 8 rises, 2 flat.',
      'classes': [
        {
          'name': f'class <{i}>',
          'n': 1000,
          'accuracy': [grown(d, 0.99 - i / 40, i / 20) for d in DIMS],
          'trend': 'rises' if i > 1 else 'flat',
        }
        for i in range(10)
      ],
    },
    'calibration': {
      'dims': list(DIMS),
      'text': 'Confidence: 8 dimensions are off by 2.0 points.',
      'reliability': [
        [
          {
            'bin': b,
            'confidence': (b + 0.5) / 15,
            'accuracy': ((b + 0.5) / 15) ** (1 + i / 5),
            'count': 10 * b,
          }
          for b in range(15)
        ]
        for i in range(len(DIMS))
      ],
    },
    'cosine': {
      'dims': list(DIMS),
      'edges': [b / 25 - 1 for b in range(51)],
      'histograms': {
        name: [
          [
            round(4000 * math.exp(-(((b - mean) / (9 - i)) ** 2)))
            for b in range(50)
          ]
          for i in range(len(DIMS))
        ]
        for name, mean in (('positive', 42), ('negative', 26))
      },
    },
    'search': {
      'left_out': {'device': 'no room'},
      'methods': [
        {
          'method': r['variant'],
          'about': 'exact at 8, then 200 at 64',
          'dim': r['dim'],
          'recall': r['value'],
          'top1': r['value'] - 0.1,
          'mflops': r['mflops'],
          'mflops_shortlist': r['mflops_shortlist'],
          'bytes': r['bytes'],
          'milliseconds_batch': r['mflops'] / 9,
          'milliseconds_single': r['mflops'] / 2 + 0.1,
          'build_seconds': 0.1,
        }
        for r in search_rows()
        if r['metric'] == 'recall'
      ],
    },
    'stores': stores_details(),
    'baselines': {'nested': nested_details()},
    'examples': {
      'examples': [
        {
          'row': 3,
          'label': 1,
          'name': 'Coat & hat',
          'image': png(shade=40),
          'neighbours': {'8': nearest, '64': nearest},
          'saliency': {str(d): png(shade=d * 3) for d in TRAINED},
        }
      ]
      * 6
    },
  }


def made(tmp_path, rows, details=None, config=None, step=1500):
  """A run with an evaluation; returns (folder, text of the page)."""
  work = tmp_path / 'run'
  folder = work / 'eval' / str(step)
  results.write(folder, rows, details or {})
  (work / 'config.json').write_text(
    json.dumps(config or {'seed': 0, 'note': '<b>&'})
  )
  return folder, page.write(folder, work).read_text()
