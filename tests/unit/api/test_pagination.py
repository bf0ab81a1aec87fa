import pytest

from tests.support.control import Control


def test_pages_are_whole_and_a_page_past_the_end_is_empty(control: Control) -> None:
    names = [f"t{number}" for number in range(7)]
    for name in names:
        control.create_tunnel(name)
    seen = []
    for page in range(1, 6):
        answer = control.http.get(control.tunnels(), params={"page": page, "per_page": 3}).json()
        rows = [row["name"] for row in answer["result"]]
        seen += rows
        assert answer["result_info"] == {
            "page": page,
            "per_page": 3,
            "count": len(rows),
            "total_count": 7,
            "total_pages": 3,
        }
    assert seen == names


def test_an_empty_list_counts_nothing(control: Control) -> None:
    answer = control.http.get(control.tunnels(), params={"page": 5}).json()
    assert answer["result"] == []
    assert answer["result_info"] == {"page": 1, "per_page": 100, "count": 0, "total_count": 0, "total_pages": 0}


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ({"page": "1.0", "per_page": "50.0"}, (1, 50)),
        ({"page": "0", "per_page": "0"}, (1, 1)),
        ({"page": "-3", "per_page": "1000000"}, (1, 5000)),
        ({"page": "x", "per_page": ""}, (1, 100)),
        ({"page": "nan", "per_page": "inf"}, (1, 100)),
        ({"page": "1e300"}, (10**9, 100)),
    ],
)
def test_odd_pages_are_served_as_the_nearest_good_ones(
    control: Control, asked: dict[str, str], served: tuple[int, int]
) -> None:
    control.create_zone()
    info = control.http.get("/zones", params=asked).json()["result_info"]
    assert (info["page"], info["per_page"]) == served
