"""A template as the SAM transform leaves it, as far as this project uses SAM.

cfn-lint looks less closely at a template that is still to be transformed (it does not tell of an unused parameter, nor
look into a function's mount), so it is given the expanded one too. Resources are named as SAM names them.
"""

from __future__ import annotations

import copy
from typing import Any

from template_rules import FUNCTION, Template, of_type


def expand(template: Template) -> Template:
    """The template without SAM. What is not known here is an error, and nothing is left out."""
    plain = copy.deepcopy(template)
    del plain["Transform"]
    for name, resource in of_type(plain, FUNCTION).items():
        resource["Type"] = "AWS::Lambda::Function"
        given = resource["Properties"]
        given["Code"] = {"S3Bucket": "some-bucket", "S3Key": given.pop("CodeUri")}
        if "Tags" in given:
            given["Tags"] = [{"Key": key, "Value": value} for key, value in given["Tags"].items()]
        made: dict[str, Any] = {}
        if "FunctionUrlConfig" in given:
            url = {"TargetFunctionArn": {"Ref": name}, **given.pop("FunctionUrlConfig")}
            made["Url"] = {"Type": "AWS::Lambda::Url", "Properties": url}
        if "EventInvokeConfig" in given:
            made["EventInvokeConfig"] = _invoke_config(name, given.pop("EventInvokeConfig"))
        for event, source in given.pop("Events", {}).items():
            made |= _schedule(name, event, source)
        plain["Resources"] |= {f"{name}{suffix}": one for suffix, one in made.items()}
    return plain


def _invoke_config(function: str, given: dict[str, Any]) -> dict[str, Any]:
    destinations = {
        when: {"Destination": one["Destination"]} for when, one in given.pop("DestinationConfig", {}).items()
    }
    config = {"FunctionName": {"Ref": function}, "Qualifier": "$LATEST", "DestinationConfig": destinations, **given}
    return {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": config}


def _schedule(function: str, event: str, source: dict[str, Any]) -> dict[str, Any]:
    if source["Type"] != "Schedule":
        raise ValueError(source["Type"])
    given = dict(source["Properties"])
    arn = {"Fn::GetAtt": [function, "Arn"]}
    target = {"Id": f"{function}Target", "Arn": arn, "RetryPolicy": given.pop("RetryPolicy")}
    rule = {"ScheduleExpression": given.pop("Schedule"), "Targets": [target], **given}
    permission = {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": function},
        "Principal": "events.amazonaws.com",
        "SourceArn": {"Fn::GetAtt": [f"{function}{event}", "Arn"]},
    }
    return {
        event: {"Type": "AWS::Events::Rule", "Properties": rule},
        f"{event}Permission": {"Type": "AWS::Lambda::Permission", "Properties": permission},
    }
