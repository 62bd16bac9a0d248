# The enabled-state of each unit file, one a line.
systemctl list-unit-files --no-legend --no-pager --plain --type=service,timer,socket,path,mount,target 2>/dev/null \
  | awk '$2 != "transient" && $2 != "generated" && $2 !~ /-runtime$/ { print "unit " $1 " " $2 }' | sort
