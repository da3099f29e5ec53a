"""The checks themselves: functions of a patient that return a finding, or raise Skip."""
