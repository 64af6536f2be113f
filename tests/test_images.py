"""Image files of every kind come out as a viewer shows them, or are named."""

import os

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageOps

from mrl_jax import images

RAMP = np.linspace(0, 255, 32 * 24).reshape(24, 32).astype(np.uint8)


def saved(path, array, **options):
  Image.fromarray(array).save(path, **options)
  return path


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'L', 'RGB'])
@pytest.mark.parametrize(('ground', 'level'), [('white', 255), ('black', 0)])
def test_transparent_pixels_show_the_ground(tmp_path, mode, ground, level):
  """A square of grey 100 on a ground of grey 7 that is transparent."""
  grey = np.full((8, 8), 7, np.uint8)
  grey[2:6, 3:6] = 100
  alpha = np.where(grey == 100, 255, 0).astype(np.uint8)
  options = {}
  if mode in ('RGBA', 'LA'):
    picture = Image.fromarray(np.stack([grey, alpha], -1)).convert(mode)
  else:
    picture = Image.fromarray(grey).convert(mode)
    options['transparency'] = {'RGB': (7, 7, 7)}.get(mode, 7)
  picture.save(tmp_path / 'a.png', **options)
  expected = np.where(grey == 100, 100, level)
  for channels in (1, 3):
    out = images.read(tmp_path / 'a.png', channels, ground)
    assert out.shape == (8, 8, channels) and out.dtype == np.uint8
    for c in range(channels):
      np.testing.assert_array_equal(out[..., c], expected)


def test_half_transparent_pixels_blend(tmp_path):
  pixel = np.array([[[0, 0, 0, 128]]], np.uint8)
  out = images.read(saved(tmp_path / 'a.webp', pixel, lossless=True))
  assert abs(int(out[0, 0, 0]) - 127) <= 1
  tinted = images.read(tmp_path / 'a.webp', 3, '#ff0000')[0, 0]
  assert abs(int(tinted[0]) - 127) <= 1 and tuple(tinted[1:]) == (0, 0)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_sixteen_bits_keep_their_levels(tmp_path, suffix):
  path = saved(tmp_path / f'a.{suffix}', RAMP.astype(np.uint16) * 257)
  np.testing.assert_array_equal(images.read(path, 1)[..., 0], RAMP)
  np.testing.assert_array_equal(images.read(path, 3)[..., 2], RAMP)
  dark = saved(tmp_path / f'b.{suffix}', RAMP.astype(np.uint16))
  assert images.read(dark, 1).max() == 1  # 255 of 65535


def test_sixteen_bits_with_a_transparent_level(tmp_path):
  path = tmp_path / 'a.png'
  Image.fromarray(RAMP.astype(np.uint16) * 257).save(path, transparency=0)
  out = images.read(path, 3, 'red')
  assert tuple(out[0, 0]) == (255, 0, 0) and tuple(out[-1, -1]) == (255,) * 3


@pytest.mark.parametrize('top', [1, 255, 65535])
def test_wide_numbers_keep_their_levels(tmp_path, top):
  levels = RAMP / 255 * top
  path = saved(tmp_path / 'f.tif', levels.astype(np.float32))
  np.testing.assert_allclose(images.read(path, 1)[..., 0], RAMP, atol=1)
  if top > 1:
    path = saved(tmp_path / 'i.tif', np.rint(levels).astype(np.int32))
    np.testing.assert_allclose(images.read(path, 1)[..., 0], RAMP, atol=1)


@pytest.mark.parametrize('levels', [[-9.0, 1], [0, 1e6], [0, np.nan]])
def test_levels_without_a_known_white_are_named(tmp_path, levels):
  path = saved(tmp_path / 'f.tif', np.array([levels], np.float32))
  with pytest.raises(images.ImageError, match='convert the file'):
    images.read(path)


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tif', 'webp'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied(tmp_path, suffix, orientation):
  pixels = np.zeros((16, 32, 3), np.uint8)
  pixels[:8, :16] = 255
  exif = Image.Exif()
  exif[0x112] = orientation
  path = saved(tmp_path / f'a.{suffix}', pixels, exif=exif, quality=95)
  plain = Image.fromarray(pixels)
  plain.getexif()[0x112] = orientation
  expected = np.asarray(ImageOps.exif_transpose(plain))
  out = images.read(path)
  assert out.shape == expected.shape
  assert np.abs(out.astype(int) - expected).mean() < 3  # JPEG, WebP are lossy


def test_cmyk_and_palettes(tmp_path):
  colours = np.zeros((16, 16, 3), np.uint8)
  colours[:8] = (250, 10, 10)
  picture = Image.fromarray(colours)
  picture.convert('CMYK').save(tmp_path / 'a.jpg', quality=95)
  picture.convert('CMYK').save(tmp_path / 'a.tif')
  picture.quantize(4).save(tmp_path / 'a.gif')
  picture.save(tmp_path / 'a.bmp')
  for name in ('a.jpg', 'a.tif', 'a.gif', 'a.bmp'):
    out = images.read(tmp_path / name)
    assert np.abs(out.astype(int) - colours).mean() < 6, name
  Image.new('1', (8, 8), 1).save(tmp_path / 'b.png')
  assert (images.read(tmp_path / 'b.png', 1) == 255).all()


def test_of_several_frames_the_first_counts(tmp_path):
  frames = [Image.new('RGB', (8, 8), (level,) * 3) for level in (10, 200)]
  for name in ('a.gif', 'a.webp', 'a.tif', 'a.png'):
    path = tmp_path / name
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert abs(int(images.read(path)[0, 0, 0]) - 10) <= 2, name
    assert images.check_files([path]) == ([path], {}, [path])
    frames[0].save(path)
    assert images.check_files([path]).moving == []


@pytest.mark.parametrize(
  'content',
  [
    b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n',
    b'%PDF-1.4\n',
    b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    b'P5 2 2 255\n1234',
    b'GIF8',
    b'text',
  ],
)
@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.eps', 'a'])
def test_no_other_format_is_opened(tmp_path, monkeypatch, content, name):
  """Not even by a decoder that fails: an EPS is a program, run by another."""
  started = []
  monkeypatch.setattr(
    EpsImagePlugin, 'Ghostscript', lambda *given, **more: started.append(given)
  )
  (tmp_path / name).write_bytes(content)
  with pytest.raises(images.ImageError, match='^not a file of JPEG'):
    images.read(tmp_path / name)
  listing = images.find_files(tmp_path)
  assert images.check_files(listing.paths).paths == []
  assert started == []


def test_a_format_is_known_by_content_not_by_name(tmp_path):
  for i, kind in enumerate(images.FORMATS):
    Image.fromarray(RAMP).save(tmp_path / f'{i}.dat', kind)
    assert images.read(tmp_path / f'{i}.dat', 1).shape == (24, 32, 1)
  assert len(images.find_files(tmp_path).paths) == len(images.FORMATS)


def test_reasons_are_told_apart(tmp_path, monkeypatch):
  whole = saved(tmp_path / 'a.png', np.tile(RAMP, (4, 4)))
  (tmp_path / 'cut.png').write_bytes(whole.read_bytes()[:-60])
  (tmp_path / 'empty.png').write_bytes(b'')
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
  for name, said in {
    'a.png': r'too large: .*12288 pixels.* limit of 2000 pixels$',
    'empty.png': '^empty$',
    'none.png': '^cannot be opened: No such file',
  }.items():
    with pytest.raises(images.ImageError, match=said):
      images.read(tmp_path / name)
  monkeypatch.undo()
  with pytest.raises(images.ImageError, match='^damaged: '):
    images.read(tmp_path / 'cut.png')
  with pytest.raises(ValueError, match='unknown color'):
    images.read(whole, 3, 'no colour')


SMALL = {
  'a.jpg': {},
  'b.jpg': {'progressive': True},
  'a.png': {},
  'a.gif': {},
  'a.bmp': {},
  'a.tif': {},
  'b.tif': {'compression': 'tiff_lzw'},
  'c.tif': {'compression': 'jpeg'},
  'a.webp': {},
}


@pytest.mark.filterwarnings('ignore::UserWarning:PIL')
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
@pytest.mark.parametrize('name', SMALL)
def test_mutated_files_are_read_or_named(
  tmp_path, photos, name, capfd, monkeypatch
):
  """Bytes changed, cut, doubled: pixels or an ImageError, nothing else."""
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100_000)  # for speed
  exif = Image.Exif()
  exif[0x112] = 6
  options = {} if name[2:] in ('gif', 'bmp') else {'exif': exif}
  saved(tmp_path / name, photos[0], **SMALL[name], **options)
  whole = (tmp_path / name).read_bytes()
  rng = np.random.default_rng(0)
  outcomes = set()
  for i in range(400):
    data = bytearray(whole)
    # Headers are short: half of the mutations go there.
    end = len(data) if i % 2 else min(len(data), 200)
    for place in rng.integers(0, end, rng.integers(1, 6)):
      data[place] = rng.integers(256)
    if i % 5 == 0:
      data = data[: rng.integers(1, len(data))]
    (tmp_path / name).write_bytes(data)
    try:
      out = images.read(tmp_path / name)
    except images.ImageError as error:
      assert str(error) and '\n' not in str(error)
      outcomes.add('named')
    else:
      assert out.dtype == np.uint8 and out.ndim == 3 and out.shape[2] == 3
      outcomes.add('read')
  assert 'named' in outcomes
  capfd.readouterr()  # libtiff writes of its own


def test_any_folder_is_listed(tmp_path, capsys):
  """Flat and nested, linked, without suffix; the rest is counted, named."""
  for name in ('b.png', 'a.JPG', 'x/c.webp', 'x/y/d.tiff', '.hidden.png'):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    saved(tmp_path / name, RAMP)
  (tmp_path / '__MACOSX').mkdir()
  saved(tmp_path / '__MACOSX' / 'e.png', RAMP)
  (tmp_path / '.ipynb_checkpoints').mkdir()
  saved(tmp_path / '.ipynb_checkpoints' / 'f.png', RAMP)
  (tmp_path / 'read me\n.txt').write_text('BM is not always a bitmap')
  (tmp_path / 'gone.png').symlink_to('nowhere.png')
  elsewhere = tmp_path.parent / f'{tmp_path.name}_elsewhere'
  elsewhere.mkdir()
  saved(elsewhere / 'g.png', RAMP)
  (tmp_path / 'linked').symlink_to(elsewhere)
  (tmp_path / 'x' / 'circle').symlink_to(tmp_path)
  paths, skipped, _ = images.find_files(tmp_path)
  names = [str(path.relative_to(tmp_path)) for path in paths]
  assert names == sorted(
    ['a.JPG', 'b.png', 'linked/g.png', 'x/c.webp', 'x/y/d.tiff']
  )
  assert {p.name: reason.split(',')[0] for p, reason in skipped.items()} == {
    '.hidden.png': 'left by another program',
    '__MACOSX': 'left by another program',
    '.ipynb_checkpoints': 'left by another program',
    'read me\n.txt': 'not an image',
    'gone.png': 'a link to nothing',
    'circle': 'a link to a folder that holds it',
  }
  images.tell(skipped)
  out = capsys.readouterr().out
  assert '3 left out, left by another program' in out
  assert r'read me\n.txt' in out
  with pytest.raises(ValueError, match='b.png is not a folder'):
    images.find_files(tmp_path / 'b.png')


def test_checked_files_and_why_not(tmp_path):
  good = saved(tmp_path / 'a.png', RAMP)
  (tmp_path / 'b.png').write_bytes(b'')
  paths, skipped, moving = images.check_files([good, tmp_path / 'b.png'])
  assert paths == [good] and skipped == {tmp_path / 'b.png': 'empty'}
  assert moving == []


def test_long_lists_are_cut(capsys, tmp_path):
  images.tell({tmp_path / str(i): f'damaged: {i}' for i in range(13)})
  out = capsys.readouterr().out
  assert '13 left out, damaged:' in out and '... and 3 more' in out


def test_names_are_shown_in_one_line():
  name = os.fsdecode(b'caf\xe9\n')
  assert images.shown(name) == r'caf\udce9\n'
  assert images.shown('café') == 'café'
  assert images.utf8(name) != name and images.utf8('café') == 'café'
