import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from workbench.cli import commands as cli
from workbench.errors import WorkbenchError

SMALL = ["--roles", "9", "--questions", "3", "--prompts", "1"]


def run(*arguments: str) -> tuple[int, str]:
    """The command as a user types it, errors caught as the entry point catches them."""
    result = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=True)
    if isinstance(result.exception, WorkbenchError):
        return 1, f"workbench: {result.exception}"
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    code, output = run("study", "--out", str(folder), *SMALL)
    assert code == 0, output
    return folder, output


def test_a_study_ends_with_what_was_found_and_where(study):
    folder, output = study
    assert "Verdict: " in output
    assert f"Report: {folder}/report.html" in output.replace("\n", "")


@pytest.mark.parametrize("step", ["rollouts", "judge", "extract", "axis", "sweep", "report"])
def test_every_step_runs_on_the_same_folder(study, step):
    code, output = run(step, str(study[0]))
    assert code == 0
    assert output.strip().splitlines()[-1].startswith(f"{step}: ")


def test_settings_from_a_file(study, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"roles": 9, "questions": 3, "prompts": 1}))
    code, output = run("study", "--out", str(study[0]), "--config", str(settings))
    assert (code, "Verdict: " in output) == (0, True)


def test_the_doctor(tmp_path):
    code, output = run("doctor", "organism")
    assert code == 0
    assert "every message proven" in output
    assert "logits differ by 0.0e+00" in output


def test_the_doctor_finds_a_missing_template(test_models):
    code, output = run("doctor", str(test_models / "stories260K"))
    assert code == 1
    assert "fail  chat template" in output
    assert "--chat-template" in output
    template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    code, output = run("doctor", str(test_models / "stories260K"), "--chat-template", template)
    assert "ok    message spans" in output, output


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["study", "--model", "./nothing"], 1, "there is no model folder"),
        (["study", "--prompts", "0"], 1, "setting prompts"),
        (["study", "--layers", "a-b"], 2, "write numbers and ranges"),
        (["study", "--layers", "3-99"], 1, "layer 5 does not exist: organism has layers 0 to 4"),
        (["study", "--roles", "no/folder"], 1, "there is no folder no/folder"),
        (["study", "--questions", "0"], 1, "0 questions asked for"),
        (["study", "--config", "no.json"], 1, "cannot be read"),
        (["report", "/nowhere"], 1, "is not a run folder"),
        (["doctor", "./nothing"], 1, "there is no model folder"),
        (["organism", "check", "/nowhere"], 1, "holds no trained organism"),
        (["study", "--layers", "5-2"], 2, "write numbers and ranges"),
        (["study", "--layers", "2-4", "--keep-layers", "1"], 1, "kept at layer 1, and the layers that are read are [2, 3, 4]"),
        (["study", "--roles", "²"], 1, "there is no folder ²"),
        (["study", "--endpoint", "http://[::1:8000/v1"], 1, "an endpoint is an address such as"),
        (["study", "--judge-model", "m"], 1, "--judge-model has no effect without --judge"),
        (["nonsense"], 2, "No such command"),
        (["study", "--nonsense"], 2, "No such option"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, arguments, code, text):
    if arguments[0] == "study":
        arguments = [*arguments, "--out", str(tmp_path / "run")]
    found, output = run(*arguments)
    assert found == code
    assert text in " ".join(output.split())
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", "--layer", "1"],
        ["sweep", "--layer", "0"],
        ["sweep", "--positions", "last"],
        ["evaluate", "--limit", "3"],
        ["export", "--out", "x", "--cap", "recommended"],
        ["label", "--file", "x.csv"],
        ["label", "--read", "--seed", "0"],
    ],
)
def test_an_option_that_would_be_ignored_is_refused(study, arguments):
    code, output = run(arguments[0], str(study[0]), *arguments[1:])
    assert code == 2
    assert f"{arguments[-2]} has no effect without " in output


@pytest.mark.parametrize(
    "arguments",
    [
        ["origins", "--roles", "0"],
        ["origins", "--texts", "0"],
        ["traits", "--pairs", "0"],
        ["label", "--n", "0"],
        ["evaluate", "--controls", "-1"],
    ],
)
def test_counts_are_counts(study, arguments):
    code, output = run(arguments[0], str(study[0]), *arguments[1:])
    assert code == 2
    assert "greater than or equal to" in output


@pytest.mark.parametrize(
    ("content", "says"),
    [("[1]", "no JSON object"), ('{"out": "x"}', "out is no setting of a study"), ('{"rolls": 3}', "setting rolls: extra inputs")],
)
def test_settings_that_are_none(tmp_path, content, says):
    (tmp_path / "settings.json").write_text(content)
    code, output = run("study", "--out", str(tmp_path / "run"), "--config", str(tmp_path / "settings.json"))
    assert (code, says in output) == (1, True)


def test_a_model_that_is_given_wins_over_the_settings(tmp_path):
    (tmp_path / "settings.json").write_text("\ufeff" + json.dumps({"model": "./nothing"}))
    given = ["study", "--out", str(tmp_path / "run"), "--config", str(tmp_path / "settings.json")]
    assert "no model folder ./nothing" in run(*given)[1]
    assert "layer 9 does not exist: organism has" in run(*given, "--model", "organism", "--layers", "9")[1]


def test_a_mistake_in_layers_may_be_mended_and_results_stand_alone_on_the_output(tmp_path):
    """Nothing has been asked of the layers yet: the same folder goes on."""
    command = [sys.executable, "-m", "workbench", "study", "--out", str(tmp_path / "run"), *SMALL, "--layers"]
    assert subprocess.run([*command, "9"], capture_output=True).returncode == 1
    done = subprocess.run([*command, "1-3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Playing the roles" in done.stderr
    assert "Playing the roles" not in done.stdout
    assert done.stdout.startswith("At layer ")
    again = subprocess.run([*command, "1-4"], capture_output=True, text=True)
    assert "other settings (layers [1, 2, 3], now [1, 2, 3, 4])" in again.stderr


def test_a_letter_that_the_terminal_lacks_loses_nothing(tmp_path):
    path = tmp_path / "会话.json"
    command = [sys.executable, "-m", "workbench", "report", str(path)]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 1
    assert b"??.json is not a run folder" in done.stderr


def test_a_users_mistake_has_no_traceback(tmp_path):
    done = subprocess.run([sys.executable, "-m", "workbench", "report", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"workbench: {tmp_path} is not a run folder: it has no study.json\n"


def test_ctrl_c_is_one_sentence_and_keeps_what_is_finished(tmp_path):
    """A real SIGINT in the middle of generation."""
    command = [sys.executable, "-m", "workbench", "study", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=_take_sigint)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "rollouts" / "part-00000.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    error = process.communicate()[1]
    assert process.returncode == 1
    assert error.splitlines()[-1] == "workbench: interrupted; what is finished is kept, and the same command continues from there"
    assert (tmp_path / "run" / "rollouts" / "part-00000.parquet").exists()


def _take_sigint() -> None:
    """Jobs in the background of a shell ignore SIGINT; a user's terminal does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import workbench", ("torch", "transformers", "transformer_lens", "plotly", "pandas")),
        ("import workbench.cli.commands", ("torch", "transformers", "transformer_lens", "plotly", "pandas")),
        ("import workbench; workbench.plots.scree", ("torch", "transformers", "transformer_lens")),
        ("import workbench.report.page", ("torch", "transformers")),
    ],
)
def test_importing_leaves_the_heavy_libraries_alone(code, absent):
    check = f"import sys; {code}; found = [m for m in {absent!r} if m in sys.modules]; sys.exit(', '.join(found) or 0)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_are_all_there():
    import workbench

    for name in workbench.__all__:
        assert getattr(workbench, name) is not None
    assert set(workbench.__all__) <= set(dir(workbench))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = workbench.nonsense


def test_steering_and_the_files_of_others(study, tmp_path):
    folder, _ = study
    code, output = run("sweep", str(folder), "--strengths=-0.2:0.2:0.2", "--limit", "12")
    assert code == 0
    assert "compliance" in output
    code, output = run("export", str(folder), "--out", str(tmp_path / "vectors"))
    assert code == 0
    assert (tmp_path / "vectors" / "assistant_axis.pt").exists()
    code, output = run("import", str(tmp_path / "vectors"), "--out", str(tmp_path / "back"), "--model", "organism")
    assert code == 0
    assert "Run: " in output
    code, output = run("export", str(folder), "--format", "gguf", "--out", str(tmp_path / "axis.gguf"))
    assert code == 0
    assert (tmp_path / "axis.gguf").stat().st_size > 96 * 4 * 4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["calibrate", "RUN", "--percentiles", "default:120"], "a percentile lies between 0 and 100, not at 120"),
        (["calibrate", "RUN", "--windows", "9"], "a window is 1 to 5 layers wide, not 9"),
        (["calibrate", "RUN", "--prompts", "nowhere.csv"], "there is no file nowhere.csv to read prompts from"),
        (["calibrate", "RUN", "--positions", "middle"], "not at 'middle'"),
        (["evaluate", "RUN"], "has no calibrated cap yet: run `workbench calibrate"),
        (["sweep", "RUN", "--strengths=0.2", "--layer", "9"], "direction 'assistant axis' has no layer 9: it has layers 0 to 4"),
        (["export", "RUN", "--out", "x.gguf", "--format", "gguf", "--layers", "0-2"], "block 0"),
        (["export", "RUN", "--out", "x", "--format", "onnx"], "exported as published or gguf, not as 'onnx'"),
        (["import", "nowhere", "--out", "x"], "nowhere is not a folder of published vectors"),
    ],
)
def test_mistakes_with_caps_are_one_sentence(study, arguments, text):
    code, output = run(*[str(study[0]) if a == "RUN" else a for a in arguments])
    assert code == 1
    assert text in output
    assert output.count("\n") <= 1
    assert "Traceback" not in output
