# Sourced by run: what it may cost at most, from what each part makes. Prices in US dollars are those of the dearest regions.

# Machines of each part (t3.small, t4g.small), and snapshots that lie there for a day.
declare -A machines=([images]=5 [ends]=9 [publication]=6 [replace]=4 [key]=4 [role]=2 [stack]=8)
declare -A snapshots=([images]=2 [ends]=1 [publication]=3 [replace]=2 [key]=3 [role]=1 [stack]=2)
declare -A copies=([publication]=1 [key]=1) # to the other region

declare -A minutes=([images]=30 [ends]=35 [publication]=25 [replace]=15 [key]=30 [role]=15 [stack]=75) # on AWS, about

machine=0.045 # an hour of one: t3.small 0.034, a public address 0.005, 15 GiB of gp3 0.004
snapshot=0.01 # 4 GiB of data, 0.07 a GiB and month, a day
copy=0.70 # 4 GiB of data, 0.147 a GiB between regions, 0.02 a GiB for being done in time
keys=0.01 # two keys, 1 a month, three hours; one that waits for its deletion costs nothing
# What stands for three hours at most, an hour of each.
balancer=0.06 # the load balancer and its units 0.045, two addresses 0.01, five alarms
declare -A egress_hour=([nat]=0.10 [endpoints]=0.09 [none]=0) # a NAT gateway and its address; or three endpoints in two zones

say_cost() {
  local part all=0 kept=0 far=0 takes=0 more=0 limit
  for part in "${all_parts[@]}"; do
    does "$part" || continue
    ((all += machines[$part], kept += snapshots[$part], far += ${copies[$part]:-0}, takes += minutes[$part]))
  done
  if does key; then more=$keys; fi
  if does stack; then more=$(awk "BEGIN { print $more + 3 * ($balancer + ${egress_hour[$egress]}) + 8 * $machine + 0.10 }"); fi
  limit=$(awk "BEGIN { printf \"%.2f\", $all * $machine + $kept * $snapshot + $far * $copy + $more }")
  cat >&2 <<TEXT
This runs amibake on AWS as
  $identity
in $region, with copies to $copy_to${share:+, shared with account $share}. It starts up to $all machines of type t3.small, one to four at a time, and
takes about $takes minutes.
TEXT
  if does stack; then
    echo "The stack is a load balancer (0.06 USD an hour), $(egress_words), and one to two machines; it stands for an hour, three at most." >&2
  fi
  if does key; then
    echo "Two KMS keys are made, and scheduled for deletion: AWS keeps them for 7 days, which costs nothing (1 USD a month each before that)." >&2
  fi
  if does role; then echo "An IAM role with the policy that \`iam-policy\` prints is made, and removed." >&2; fi
  echo "Everything is removed at the end, and with it what amibake left in these two regions before and has expired." >&2
  echo "It costs at most $limit USD, usually less than a third of that." >&2
}

egress_words() {
  case $egress in
    nat) echo "a NAT gateway (0.10 USD an hour, 0.10 USD a GB)" ;;
    endpoints) echo "endpoints of the VPC (0.09 USD an hour)" ;;
    none) echo "no way out of its network" ;;
  esac
}
