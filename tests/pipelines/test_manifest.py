import pytest

from pipelines.manifest import read_sources
from pipelines.schema import RefusedError


def manifest(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_folders_give_class_and_subject(tmp_path):
    for name in ("FMs/anna/1.mp4", "FMs/anna/2.MOV", "WMs/ben/v.mp4", "WMs/ben/notes.txt", "WMs/ben/.v.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = read_sources(tmp_path)
    assert [(one.id, one.label, one.subject, one.group) for one in found] == [
        ("FMs__anna__1", "FMs", "anna", "anna"),
        ("FMs__anna__2", "FMs", "anna", "anna"),
        ("WMs__ben__v", "WMs", "ben", "ben"),
    ]


def test_names_of_any_script_stay_apart(tmp_path):
    path = manifest(tmp_path, "video,subject,label\n安娜/v.mp4,a,FMs\n本/v 1.mp4,b,FMs\n")
    assert [one.id for one in read_sources(path)] == ["安娜__v", "本__v-1"]


def test_a_manifest_carries_its_columns_along(tmp_path):
    path = manifest(
        tmp_path,
        "video,subject,label,group,start,end,age_weeks,device\na b.mp4,anna,FMs,twins,1.5,60,12,phone\n",
    )
    (one,) = read_sources(path)
    assert one.path == (tmp_path / "a b.mp4").resolve()
    assert (one.subject, one.label, one.group) == ("anna", "FMs", "twins")
    assert (one.start, one.end, one.age_weeks) == (1.5, 60, 12)
    assert one.other == {"device": "phone"}


def test_a_box_says_who_is_meant(tmp_path):
    path = manifest(tmp_path, 'video,subject,label,box\nv.mp4,a,FMs,"0.1,0.2,0.5,0.8"\nw.mp4,b,FMs,\n')
    assert [one.box for one in read_sources(path)] == [(0.1, 0.2, 0.5, 0.8), None]


@pytest.mark.parametrize(
    "text", ["0.1,0.2,0.5", "a,b,c,d", "0.6,0,0.5,1", "0,0,0,1", "-0.1,0,0.5,1", "nan,0,1,1"]
)
def test_what_is_no_box_is_refused(tmp_path, text):
    path = manifest(tmp_path, f'video,subject,label,box\nv.mp4,a,FMs,"{text}"\n')
    with pytest.raises(RefusedError, match=r"row 2: box must be left,top,width,height.*Received"):
        read_sources(path)


def test_a_manifest_may_fix_the_test_side(tmp_path):
    path = manifest(
        tmp_path, "video,subject,label,split\nv.mp4,a,FMs,test\nw.mp4,b,FMs,train\nx.mp4,c,FMs,\n"
    )
    assert [(one.split, one.other) for one in read_sources(path)] == [("test", {}), ("train", {}), (None, {})]


def test_two_windows_of_one_video_are_two_sources(tmp_path):
    path = manifest(tmp_path, "video,subject,label,start,end\nv.mp4,a,FMs,0,10\nv.mp4,a,FMs,10,20\n")
    first, second = read_sources(path)
    assert first.id != second.id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,subject\nv.mp4,a\n", r"must have the columns.*Received: video, subject. Add label"),
        ("video,subject,lable\nv.mp4,a,FMs\n", r"Received: video, subject, lable. Add label"),
        ("video,subject,label\nv.mp4,a,\n", r"row 2: label must not be empty"),
        ("video,subject,label\nv.mp4,a,FMs\nw.mp4,a,WMs\n", r"one label. Received: 'a' with 'FMs' \(v.mp4\)"),
        ("video,subject,label\nv.mp4,a,FMs\nv.mp4,a,FMs\n", r"listed once"),
        ("video,subject,label,split\nv.mp4,a,FMs,val\n", r"row 2: split must be train or test.*'val'"),
        (
            "video,subject,label,split\nv.mp4,a,FMs,test\nw.mp4,a,FMs,\n",
            r"one value in the column split. Received: 'a' with 'test' \(v.mp4\) and None \(w.mp4\)",
        ),
        ("video,subject,label,start\nv.mp4,a,FMs,soon\n", r"row 2: start must be a number.*'soon'"),
        (
            "video,subject,label,start,end\nv.mp4,a,FMs,9,3\n",
            r"end must lie after start. Received: start=9, end=3",
        ),
        ("video,subject,label\nv.mp4,a,FMs,extra\n", r"row 2: a row must have one value a column"),
        ("video,subject,label\n", r"at least one video"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_row(tmp_path, text, message):
    with pytest.raises(RefusedError, match=message):
        read_sources(manifest(tmp_path, text))


def test_no_videos_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"videos at CLASS/SUBJECT/NAME.mp4"):
        read_sources(tmp_path)
    with pytest.raises(RefusedError, match=r"existing folder or .csv"):
        read_sources(tmp_path / "nowhere")
    (tmp_path / "v.mp4").touch()
    with pytest.raises(RefusedError, match=r"folder or a .csv manifest"):
        read_sources(tmp_path / "v.mp4")
