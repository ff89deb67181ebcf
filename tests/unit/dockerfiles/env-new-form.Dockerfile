FROM a
ENV A=1
ENV B="two words" C=two\ words D='single $A' E= F=""
ENV G=a=b=c H="say \"hi\"" I=$A/${B}/${C:-d}
ENV J=it"'"s K=mid"dle of"word
ENV L="ends in backslash \\"
