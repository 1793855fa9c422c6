"""A preview of generated infants, as pictures and as videos."""

import cv2
import numpy as np
import pytest

from pipelines.config import BuildConfig
from pipelines.pose import overlap
from pipelines.schema import ClipSpec, RefusedError
from pipelines.tools import standard_tools
from pipelines.video import sample_frames
from tests.conftest import numbered_frames, write_video
from tfgma.preview import write_previews

CONFIG = BuildConfig(clip=ClipSpec(fps=6, clip_seconds=2, stride_seconds=2))


@pytest.fixture(scope="module")
def finder():
    with standard_tools(CONFIG) as tools:
        yield tools.finder


@pytest.fixture(scope="module")
def infant(infants):
    return sorted(infants.glob("*/*/video.mp4"))[0]


@pytest.fixture
def picture(infant, tmp_path):
    """A generated infant as a photograph, twice as large as networks see it."""
    frame = next(sample_frames(infant, 6)).pixels
    large = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "source" / "infant.jpg"
    path.parent.mkdir()
    cv2.imwrite(str(path), large[..., ::-1])
    return path


def test_a_picture_s_mask_has_its_size_and_covers_the_body(picture, infant, finder, tmp_path):
    (item,) = write_previews(picture, tmp_path / "out", CONFIG, finder)
    assert (item.verdict, item.reasons) == ("assessable", ())
    mask = cv2.imread(str(tmp_path / "out" / "infant_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == cv2.imread(str(picture)).shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    truth = np.load(infant.with_name("truth.npz"))
    shape = tuple(np.array(mask.shape) // 2)
    expected = np.unpackbits(truth["masks"][0], count=shape[0] * shape[1]).reshape(shape) > 0
    assert overlap(cv2.resize(mask, shape[::-1]) > 127, expected) > 0.85
    sheet = cv2.imread(str(tmp_path / "out" / "infant_sheet.png"))
    assert sheet.std() > 10
    answer = item.as_json()
    assert answer["source"] == str(picture)
    assert (answer["body"], answer["camera_speed"]) == (1.0, None)


def test_a_video_is_looked_at_here_and_there(infant, finder, tmp_path):
    (item,) = write_previews(infant, tmp_path / "out", CONFIG, finder)
    assert item.verdict == "assessable"
    assert item.video["fps"] == pytest.approx(30, abs=0.1)
    assert 0 <= item.figures.camera_speed < 0.1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["video_mask.png", "video_sheet.png"]


def test_a_folder_s_items_keep_their_names_apart(picture, infant, finder, tmp_path):
    folder = picture.parent
    for name in ("a/v.mp4", "b/v.mp4", "b/v.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith("png"):
            cv2.imwrite(str(path), np.full((90, 120, 3), 70, np.uint8))
        else:
            write_video(path, numbered_frames(6))
    (folder / "notes.txt").touch()
    items = write_previews(folder, tmp_path / "out", CONFIG, finder)
    assert [item.mask for item in items] == [
        "a__v__mp4_mask.png",
        "b__v__mp4_mask.png",
        "b__v__png_mask.png",
        "infant_mask.png",
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        name for item in items for name in (item.mask, item.sheet)
    }
    assert [item.verdict for item in items] == ["not_assessable"] * 3 + ["assessable"]
    assert "nobody is seen" in items[0].reasons
    assert any("lasts 0.2 s" in reason for reason in items[0].reasons)


def test_where_nobody_is_seen_the_mask_is_empty(finder, tmp_path):
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((90, 120, 3), 70, np.uint8))
    (item,) = write_previews(tmp_path / "wall.png", tmp_path / "out", CONFIG, finder)
    assert item.reasons == ("nobody is seen",)
    assert not cv2.imread(str(tmp_path / "out" / "wall_mask.png")).any()


@pytest.mark.parametrize("name", ["broken.jpg", "broken.mp4", "empty.png"])
def test_what_cannot_be_read_is_not_assessable_and_others_go_on(picture, finder, tmp_path, name):
    (picture.parent / name).write_bytes(b"" if name.startswith("empty") else b"no picture" * 50)
    items = write_previews(picture.parent, tmp_path / "out", CONFIG, finder)
    assert [(item.source.name, item.verdict) for item in items] == [
        (name, "not_assessable"),
        ("infant.jpg", "assessable"),
    ]
    assert items[0].mask is items[0].sheet is None
    assert name in items[0].reasons[0]


def test_nothing_to_see_is_refused(finder, tmp_path):
    with pytest.raises(RefusedError, match="SOURCE must be a video, a picture, a manifest"):
        write_previews(tmp_path, tmp_path / "out", CONFIG, finder)
    with pytest.raises(RefusedError, match=r"Received: .*nowhere"):
        write_previews(tmp_path / "nowhere", tmp_path / "out", CONFIG, finder)


def test_a_manifest_s_box_says_who_is_meant(picture, finder, tmp_path):
    frame = cv2.imread(str(picture))
    pair = np.hstack([frame, frame[:, ::-1]])
    write_video(tmp_path / "pair.mp4", [pair[..., ::-1]] * 12)
    (tmp_path / "m.csv").write_text('video,subject,label,box\npair.mp4,a,FMs,"0.5,0,0.5,1"\n')
    (item,) = write_previews(tmp_path / "m.csv", tmp_path / "out", CONFIG, finder)
    mask = cv2.imread(str(tmp_path / "out" / "pair_mask.png"), cv2.IMREAD_GRAYSCALE)
    middle = mask.shape[1] // 2
    assert mask[:, :middle].sum() < 0.02 * mask[:, middle:].sum()
    assert item.figures.other_people == 1
