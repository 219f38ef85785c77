import re
import shlex


def test_answer_of_slo_in_the_readme_is_what_the_command_prints(root, command):
    text = (root / "README.md").read_text()
    asked, answer = re.search(
        r"```sh\n(\S*sweepengine slo .*?)```.*?```\n(.*?)```", text, re.S
    ).groups()
    arguments = shlex.split(asked.replace("\\\n", " "))[1:]
    shown = command(*arguments).stdout
    lines = [line.rstrip() for line in shown.splitlines()]
    assert lines[: answer.count("\n")] == answer.splitlines()
