"""Settings and links: what is written is read back, and what cannot be is named in a sentence."""

import pytest

from workbench.app.bench import in_words
from workbench.app.form import FIELDS, settings_of, values_of
from workbench.app.settings import Settings, layers_in_words, layers_of
from workbench.errors import DataError

SEVERAL = [
    Settings(),
    Settings(kind="floor", preset="recommended", control=3, seed=7),
    Settings(kind="add", direction="trait warmth", layers=(1, 2, 4), strength=-0.65, positions="generated"),
    Settings(kind="ceiling", percentile=12.5, over="roles", follow="left", forget=True, temperature=0, layer=2),
    Settings(system="Be <b>brief</b> & kind = yes?\nüñ", persona="x y", prompt=2, max_new_tokens=40, top_p=1.0),
    Settings(kind="ablate", strength=1.0),
]


@pytest.mark.parametrize("settings", SEVERAL)
def test_a_link_gives_back_the_same_settings(settings):
    assert Settings.from_query(settings.to_query()) == settings
    assert Settings.from_query("?" + settings.to_query()) == settings


def test_a_link_holds_only_what_is_not_as_usual():
    assert Settings().to_query() == ""
    assert Settings(kind="floor", percentile=50).to_query() == "kind=floor&percentile=50"
    # A preset says the rest: what stands in the form beside it is no part of the link.
    assert Settings(kind="floor", preset="recommended", percentile=3, layers=(1,)).to_query() == "kind=floor&preset=recommended"


@pytest.mark.parametrize("settings", SEVERAL)
def test_the_form_means_the_same_settings(settings):
    values = values_of(settings)
    assert len(values) == len(FIELDS)
    assert settings_of(values) == settings


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("foo=1", "there is no setting 'foo': there are persona, prompt"),
        ("temperature=hot", r"setting temperature: input should be a valid number.*got 'hot'"),
        ("temperature=-1", "setting temperature: input should be greater than or equal to 0"),
        ("kind=melt", "setting kind: input should be 'none', 'add'.*got 'melt'"),
        ("kind=add&preset=recommended", "a calibrated cap is a floor"),
        ("layers=a-b", "layers are written as numbers and ranges, e.g. 2-4 or 0,2,5, not 'a-b'"),
        ("layers=5-2", "there is no layer in '5-2'"),
        ("layers=0-99999999999", "layers are written as numbers"),
        ("seed=1&seed=2", "gives the setting 'seed' twice"),
        ("seed=-1", "setting seed"),
        ("%ff=%ff", "the settings of this link cannot be read"),
        ("strength=nan", "setting strength: input should be a finite number"),
        ("percentile=101", "setting percentile"),
        ("forget=perhaps", "setting forget: input should be a valid boolean"),
        ("positions=everywhere", "setting positions"),
        ("=1", "there is no setting ''|cannot be read"),
    ],
)
def test_what_a_link_cannot_say(query, text):
    with pytest.raises(DataError, match=f"(?s){text}") as error:
        Settings.from_query(query)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("values", "text"),
    [({"kind": "foo"}, "setting kind: input should be"), ({"percentile": 500}, "setting percentile: .*500"), ({"x": 1}, "no setting 'x'")],
)
def test_a_wrong_setting_is_one_sentence_however_it_is_made(values, text):
    for make in (Settings, Settings.of, Settings().but):
        with pytest.raises(DataError, match=text) as error:
            make(**values)
        assert "\n" not in str(error.value)


def test_layers_as_words_and_back():
    for layers in ((0,), (1, 2, 3), (0, 2, 3, 4, 9), None):
        assert layers_of(layers_in_words(layers)) == layers


def test_what_acts_is_told_apart_from_all_else():
    one = Settings(kind="floor", percentile=75, seed=3, persona="pirate", layer=1)
    assert one.acting == Settings(kind="floor", percentile=75).acting
    assert one.acting != one.but(percentile=50).acting
    assert one.acting != one.but(control=0).acting
    cap = Settings(kind="floor", preset="recommended", percentile=75)
    assert cap.acting == cap.but(percentile=10, layers=(1,)).acting


def test_what_acts_in_words():
    assert in_words(Settings()) == ""
    assert in_words(Settings(kind="floor", preset="recommended")) == "recommended cap"
    assert in_words(Settings(kind="add", strength=-0.4, layers=(2,))) == "-0.4 x axis, layers 2"
    said = in_words(Settings(kind="floor", percentile=75, control=2, positions="content"))
    assert said == "random direction 2, same dose as: floor at p75 of default along axis, content positions"


def test_what_looks_like_a_preset_or_an_empty_field_in_the_form():
    values = dict(zip(FIELDS, values_of(Settings()), strict=True))
    values |= {"acts": "cap spares roles", "layers": "", "longest": None, "seed": 4.0, "persona": None, "control_seed": None, "layer": ""}
    found = settings_of([values[name] for name in FIELDS])
    assert (found.kind, found.preset, found.seed, found.layers, found.layer) == ("floor", "spares roles", 4, None, None)
    values["seed"] = 1.5
    with pytest.raises(DataError, match="setting seed"):
        settings_of([values[name] for name in FIELDS])
