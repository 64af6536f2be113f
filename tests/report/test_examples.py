"""The list of queries that few dimensions lose, with and without images."""

from tests.samples.report import few_rows, made

LINE = {
  'id': 7,
  'class': 'bee',
  'right_from': 64,
  'found': {'id': 'a.png', 'class': 'ant'},
}


def details(shown, lost=30, gained=4):
  return {
    'lost': {
      'dims': [8, 64],
      'queries': 1000,
      'lost': lost,
      'gained': gained,
      'shown': shown,
    }
  }


def test_lost_queries_are_a_table_of_twenty_lines(tmp_path):
  lines = [LINE | {'id': f'{i} <b>\n' + 'x' * 500} for i in range(40)]
  _, text = made(tmp_path, few_rows(), details(lines))
  assert 'Of 1,000 queries, 30 find a row of their class with all 64' in text
  assert '4 only with 8.' in text and 'left out' not in text
  assert 'These 20 need most dimensions.' in text
  shown = [f'<td>{i} &lt;b&gt;\\nx' in text for i in range(40)]
  assert sum(shown) == 20 and 'x' * 61 not in text and '<b>\n' not in text
  assert '<td>bee</td><td>64</td><td>a.png</td><td>ant</td>' in text


def test_where_none_is_lost_a_sentence_says_so(tmp_path):
  _, text = made(tmp_path, few_rows(), details([], 0, 0))
  assert 'Of 1,000 queries, 0 find a row' in text
  assert 'found with 8 dimensions' not in text


def test_details_of_another_version_are_left_out(tmp_path):
  _, text = made(tmp_path, few_rows(), {'lost': {'queries': 3, 'shown': [{}]}})
  assert 'neighbours was left out' in text


def test_judged_queries_are_listed_with_their_texts(tmp_path):
  hostile = '<script>alert(1)</script>|' + 'y' * 500
  line = {
    'id': '<i>q</i>',
    'text': hostile,
    'few': 0.1,
    'full': 0.95,
    'found': {'id': 'd1', 'text': hostile},
    'best': {'id': 'd2', 'few': 12.5, 'full': 1.0},
  }
  bare = {'id': 'q2', 'few': 0.0, 'full': 0.5}
  given = details([line, bare], lost=2)
  given['lost']['measure'] = 'ndcg@10'
  _, text = made(tmp_path, few_rows(), given)
  assert 'Of 1,000 queries, 2 rank worse with 8 of 64 dimensions' in text
  assert '<script>' not in text and 'y' * 200 not in text
  assert '<td class="long">&lt;i&gt;q&lt;/i&gt;: &lt;script&gt;' in text
  assert '<td>d2</td><td>12.5</td><td>1</td>' in text
  assert '<td>0.0</td><td>50.0</td><td class="long">-</td>' in text
  assert 'class with all' not in text
