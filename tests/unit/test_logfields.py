from zocalo_daemon.supervision.logfields import told

STATUS = {"host": "host.12", "service": "Spots", "serviceclass": "", "workflows": "3.3"}


def test_what_the_message_says_is_kept_and_the_rest_only_passed_on():
    message = {"extra": {"recipe_ID": "r"}, "where": ["/f.py", 3, "find"], "logger": "site"}
    assert told(message, STATUS) == (
        {"recipe_ID": "r"},
        {
            "logger": "site",
            "pathname": "/f.py",
            "lineno": 3,
            "funcName": "find",
            "workflows_host": "host.12",
            "workflows_service": "Spots",
            "workflows_workflows": "3.3",
        },
    )


def test_an_exception_is_where_it_was_raised():
    raised = {"workflows_exc_lineno": 9, "workflows_exc_funcName": "deep", "workflows_exc_line": "raise X"}
    kept, more = told({"extra": raised, "where": ["/common_service.py", 500, "start"]}, {})
    assert kept == {}
    assert (more["pathname"], more["lineno"], more["funcName"]) == ("/common_service.py", 9, "deep")
    assert more["line"] == "raise X"


def test_a_worker_of_other_code_says_less():
    assert told({}, {}) == ({}, {"logger": None})
    assert told({"extra": 3, "where": "here"}, {}) == ({}, {"logger": None})
