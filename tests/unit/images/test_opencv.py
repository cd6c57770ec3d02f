import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from tests.unit.images import craft

from muniflow.images.codec_messages import codec_messages
from muniflow.images.opencv import check_limit, cv2


def python(code: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=env
    )


def test_opencv_refuses_what_is_oversized():
    check_limit()


def test_opencv_uses_one_thread():
    assert cv2.getNumThreads() == 1


def test_an_opencv_that_was_loaded_without_the_limit_is_found_out():
    found = python("import cv2; import muniflow.images.opencv")
    assert found.returncode == 1
    assert "OpenCV was loaded without its pixel limit" in found.stderr


@pytest.mark.parametrize("module", ["limits", "header", "fields", "sniff"])
def test_the_header_parser_needs_no_numpy(module):
    found = python(f"import sys, muniflow.images.{module}; sys.exit('numpy' in sys.modules or 'cv2' in sys.modules)")
    assert found.returncode == 0, found.stderr


def test_what_codecs_print_is_collected_and_not_shown(capfd):
    cut = craft.jpeg(craft.photo(64, 64))[:900] + b"\xff\xd9"
    with codec_messages() as messages:
        cv2.imdecode(np.frombuffer(cut, np.uint8), cv2.IMREAD_COLOR)
    assert messages.lines == ("Corrupt JPEG data: premature end of data segment",)
    assert capfd.readouterr().err == ""


def test_what_others_print_meanwhile_goes_on_to_stderr(capfd):
    half = [craft.png_header(64, 64), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b"")]
    with codec_messages() as messages:
        os.write(2, b"a log line\n")
        cv2.imdecode(np.frombuffer(craft.png_of(half), np.uint8), cv2.IMREAD_COLOR)
    assert messages.lines
    assert all(line.startswith("libpng error") for line in messages.lines)
    assert capfd.readouterr().err == "a log line\n"


def test_stderr_is_whole_again_after_an_error(capfd):
    message = "from inside"
    with pytest.raises(ValueError, match=message), codec_messages():
        raise ValueError(message)
    subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('seen')"], check=True, timeout=30)
    assert capfd.readouterr().err == "seen"


def test_a_process_without_stderr_decodes_all_the_same():
    found = python(
        "import os, sys; os.close(2)\n"
        "from muniflow.images.codec_messages import codec_messages\n"
        "with codec_messages() as messages: os.write(2, b'libpng error: x\\n')\n"
        "print(messages.lines)\n"
        "try: os.fstat(2)\n"
        "except OSError: print('still closed')\n"
    )
    assert found.stdout == "('libpng error: x',)\nstill closed\n"
